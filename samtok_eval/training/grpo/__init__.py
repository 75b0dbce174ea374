"""Reinforcement learning of a model on mask words."""
