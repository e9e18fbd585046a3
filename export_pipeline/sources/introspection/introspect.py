"""Generates a defs.yaml of a table export from the live schema of the application's database."""

from __future__ import annotations

from dataclasses import dataclass

from export_pipeline.sources.introspection.deleted_rows import find_deleted_rows
from export_pipeline.sources.introspection.naming import dataset_name
from export_pipeline.sources.introspection.schema import connect, describe_table
from export_pipeline.sources.introspection.values import typed_fields
from export_pipeline.sources.introspection.yaml_text import render_yaml


@dataclass(frozen=True, slots=True)
class Introspection:
    """The result of an introspection.

    Attributes:
        dataset: Name of the dataset.
        table: Name of the table in the YAML.
        yaml: Text of the defs.yaml.
    """

    dataset: str
    table: str
    yaml: str


def introspect(
    url: str, table: str, *, dataset: str | None = None, statement_timeout: float = 0
) -> Introspection:
    """Examine a table or view and generate the definition of its export. The database is only read.

    Args:
        url: SQLAlchemy URL of the database.
        table: Name of the table, `schema.table` if needed; case is ignored if only one table matches.
        dataset: Name of the dataset; derived from the table's name by default.
        statement_timeout: Time limit of a query in seconds; 0 for no limit.

    Raises:
        SourceError: The database cannot be reached or has no such table; the message names the nearest ones.
    """
    with connect(url, statement_timeout=statement_timeout) as connection:
        facts = describe_table(connection, table)
        types = typed_fields(connection, facts)
        deleted = find_deleted_rows(connection, facts, types)
    name = dataset_name(facts.name) if dataset is None else dataset
    return Introspection(name, facts.name, render_yaml(name, facts, types, deleted))
