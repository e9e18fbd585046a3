"""How a declared table export becomes selects: relations, comparisons, filters, nested JSON, drift."""
