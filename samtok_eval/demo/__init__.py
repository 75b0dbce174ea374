"""The demo benchmark and the tiny checkpoint."""
