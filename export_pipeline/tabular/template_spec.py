"""The typed form of `excel_template` in a table export's defs.yaml, and the columns that its table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from export_pipeline.core.strict_model import Strict


class TemplateSpec(Strict):
    """A company's workbook beside the defs.yaml, into whose table the rows go.

    In YAML it is only the file's name; the rest is known once the file was checked.
    """

    path: str
    sha256: str = ""
    table: str = ""
    headers: Sequence[str] = ()


def template_of(value: Any) -> Any:
    """Expand `excel_template: company.xlsx`."""
    return {"path": value} if isinstance(value, str) else value


def match_headers(headers: Sequence[str], names: Sequence[Sequence[str]]) -> list[int]:
    """Return the index of the column that each header of a table means, ignoring case.

    Args:
        headers: The table's headers.
        names: The names that each column may have there: its header for people first, then its name.

    Raises:
        ValueError: A header means none of them, or two headers mean the same one.
    """
    indexes: list[int] = []
    for header in headers:
        index = _find(header, names, lambda one: " ".join(one.split()).casefold())
        if index is None:
            known = ", ".join(repr(one[0]) for one in names)
            raise ValueError(f"no column is called {header!r}; there are {known}")
        if index in indexes:
            raise ValueError(f"{headers[indexes.index(index)]!r} and {header!r} are the same column")
        indexes.append(index)
    return indexes


def _find(header: str, names: Sequence[Sequence[str]], plain: Callable[[str], str]) -> int | None:
    """Return the first column with this name; the headers of all columns come before their other names."""
    for position in range(max(map(len, names))):
        for index, one in enumerate(names):
            if position < len(one) and plain(one[position]) == plain(header):
                return index
    return None
