"""JSON and JSON Lines: writers and reader."""
