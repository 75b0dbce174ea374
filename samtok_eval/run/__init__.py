"""One run: its settings and its description on disk."""
