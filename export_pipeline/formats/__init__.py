"""How an export is written: one module a format. Pure: a layout in, bytes out."""
