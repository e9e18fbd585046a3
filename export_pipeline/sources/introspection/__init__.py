"""How a live table becomes a defs.yaml: its schema, the types behind it, names for people, the text."""
