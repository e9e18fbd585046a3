"""Computed columns: parser, types, operators and functions of expressions."""
