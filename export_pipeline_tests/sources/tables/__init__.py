"""Table exports read from real databases."""
