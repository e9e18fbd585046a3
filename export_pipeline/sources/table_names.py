"""Names of tables as people write them: `table`, `schema.table`, in double quotes where a name has points."""

from __future__ import annotations

import re

_QUOTED = re.compile(r'(?:"((?:[^"]|"")+)"|([^".]+))\.(?:"((?:[^"]|"")+)"|([^".]+))')


def table_places(name: str) -> list[tuple[str | None, str]]:
    """Return where a table may be, the most likely first: its schema (None if it needs none) and its name.

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
    """Return the name of a table from which `table_places` finds it."""
    if schema is None:
        return table
    if re.search(r'[."]', schema + table):
        return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))
    return f"{schema}.{table}"


def bare_table(name: str) -> str:
    """Return the table of a name without its schema, as far as the name alone tells."""
    places = table_places(name)
    return places[1][1] if len(places) > 1 else name
