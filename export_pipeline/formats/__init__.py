"""File formats, one module or package each. Pure: a layout in, bytes out."""
