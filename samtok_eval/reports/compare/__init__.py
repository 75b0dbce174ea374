"""What differs between runs, and whether it could be chance."""
