"""Backends: whatever answers a question. `backend.py` is the interface, `select.py` picks one by its name."""
