"""Darwin Core Archive."""
