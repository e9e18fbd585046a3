"""Sample applications' databases, made the same each time."""
