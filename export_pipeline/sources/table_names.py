"""Table names as people write them: `table` or `schema.table`, in double quotes if a name contains dots."""

from __future__ import annotations

import re

_QUOTED = re.compile(r'(?:"((?:[^"]|"")+)"|([^".]+))\.(?:"((?:[^"]|"")+)"|([^".]+))')


def table_places(name: str) -> list[tuple[str | None, str]]:
    """Return the possible (schema, table) pairs of a name, the likeliest first; schema None if unneeded.

    Example:
        >>> table_places("a.b.c")
        [(None, "a.b.c"), ("a", "b.c"), ("a.b", "c")]
        >>> table_places('"a.b".c')
        [(None, '"a.b".c'), ("a.b", "c")]
    """
    whole: list[tuple[str | None, str]] = [(None, name)]
    quoted = _QUOTED.fullmatch(name) if '"' in name else None
    if quoted is not None:
        schema, table = quoted[1] or quoted[2], quoted[3] or quoted[4]
        return [*whole, (schema.replace('""', '"'), table.replace('""', '"'))]
    points = [place for place, letter in enumerate(name) if letter == "." and 0 < place < len(name) - 1]
    return [*whole, *((name[:place], name[place + 1 :]) for place in points)]


def table_name(table: str, schema: str | None) -> str:
    """Return the name by which `table_places` finds a table."""
    if schema is None:
        return table
    if re.search(r'[."]', schema + table):
        return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))
    return f"{schema}.{table}"


def bare_table(name: str) -> str:
    """Return the table without its schema, as far as the name alone shows."""
    places = table_places(name)
    return places[1][1] if len(places) > 1 else name
