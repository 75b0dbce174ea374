"""Every sample of a run on a page of its own, beside the report."""
