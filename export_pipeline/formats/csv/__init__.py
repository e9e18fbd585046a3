"""CSV: one flat table as text."""
