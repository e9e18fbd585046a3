"""Builds selects from declared table exports: relations, comparisons, filters, nested JSON, drift."""
