"""Where rows come from: SQLAlchemy selects in, Arrow batches out, one consistent snapshot."""
