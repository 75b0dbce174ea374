"""Is a candidate worse than its baseline? A verdict for CI."""
