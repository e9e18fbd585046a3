"""Generates a defs.yaml from a live table: its schema, the column types, readable names, the YAML text."""
