"""One run, or several of one task, as an HTML page."""
