"""Checkpoints of a training run, judged one after the other while it writes them."""
