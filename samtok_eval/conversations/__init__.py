"""Masks of a benchmark -> fine-tuning conversations (the command `tokenize`)."""
