"""JSON and JSON Lines: exact numbers, nested documents or an object per line."""
