"""CSV: writer, dialects and reader."""
