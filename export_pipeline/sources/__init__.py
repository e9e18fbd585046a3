"""Reads rows from databases: SQLAlchemy selects in, Arrow batches out, one consistent snapshot."""
