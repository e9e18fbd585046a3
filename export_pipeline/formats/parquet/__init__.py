"""Parquet: typed columns for programs."""
