"""Random specs of tables with random rows of every type, as a source would stage them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window
from export_pipeline.tabular.column_selection import find_needed_columns, select_columns
from export_pipeline.tabular.columns import column_of
from export_pipeline.tabular.spec import ColumnSpec, TableSpec
from export_pipeline.tabular.validation import CheckedTableSpec

_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


def exact(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Decimals of these digits."""
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale)))


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "text": _WORDS,
    "integer": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    "money": st.integers(-(2**63), 2**63 - 1) | st.integers(-999, 999),
    "decimal(12,4)": exact(12, 4),
    "decimal(38,10)": exact(38, 10),
    "decimal(60,20)": exact(60, 20),
    "money(18,4)": exact(18, 4),
    "float": st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.sampled_from([float("nan"), float("inf")]),
    "percent": st.floats(-1e6, 1e6),
    "boolean": st.booleans(),
    "date": st.dates(),
    "timestamp": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    "json": st.sampled_from(['{"a":1}', "[]", "null", "1.50"]),
    "uuid": st.uuids().map(str),
    "enum": st.sampled_from(["NEW", "OLD", "ODD"]),
    "url": st.just("https://example.org/?a=1&b=2"),
}
COMPUTED = {
    "integer": "coalesce({0}, 0) / 7 * 0 + 3",
    "money": "round({0} / 3)",
    "text": "concat({0}, '!')",
}


@dataclass(frozen=True)
class Sample:
    """An export and the rows it was made of, by column."""

    spec: TableSpec
    data: ExportData
    cells: Mapping[str, list[Any]]


@st.composite
def columns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Columns of random types, some of them extra, total, labelled or for some formats only."""
    made: list[dict[str, Any]] = []
    for index, kind in enumerate(draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=6))):
        one: dict[str, Any] = {"name": f"{kind.partition('(')[0]}_{index}_cents", "type": kind}
        number = kind.partition("(")[0] in ("integer", "money", "decimal", "float", "percent")
        if number:
            one |= draw(st.sampled_from([{}, {"total": True}, {"digits": 1}, {"digits": 3, "total": True}]))
        if kind == "enum":
            one["labels"] = {"NEW": "Brand new", "OLD": "New"}
        if kind == "timestamp":
            one["zone"] = draw(st.sampled_from(["UTC", "Europe/Berlin"]))
        if index:  # so that there is one column at least
            one |= draw(
                st.sampled_from([{}, {"extra": True}, {"null_text": "N/A"}, {"formats": ["csv", "json"]}])
            )
        made.append(one)
    return made


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """An export of such columns, with some computed ones, and options that are valid for it."""
    declared = draw(columns())
    for one in list(declared):
        if one["type"] in COMPUTED and draw(st.booleans()):
            declared.append(
                {
                    "name": f"made_of_{one['name']}",
                    "type": {"integer": "decimal(38,12)"}.get(one["type"], one["type"]),
                    "compute": COMPUTED[one["type"]].format(one["name"]),
                    "total": one["type"] != "text",
                }
            )
    spec = CheckedTableSpec.model_validate({"source": {"table": "t"}, "columns": declared})
    rows = draw(st.integers(0, 7))
    cells = {
        column.name: draw(st.lists(st.none() | CELLS[column.type], min_size=rows, max_size=rows))
        for column in spec.columns
        if column.compute is None
    }
    options: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "columns": st.lists(
                    st.sampled_from([column.name for column in spec.columns]), min_size=1, unique=True
                ),
                "csv_headers": st.sampled_from(["name", "header"]),
                "csv_money": st.sampled_from(["units", "minor"]),
                "json_money": st.sampled_from(["units", "minor"]),
                "json_shape": st.sampled_from(["array", "object", "lines"]),
            },
        )
    )
    return Sample(spec, staged(spec, cells, options, batch_rows=draw(st.integers(1, 4))), cells)


def staged(
    spec: TableSpec,
    cells: Mapping[str, Sequence[Any]],
    options: Mapping[str, Any] | None = None,
    *,
    batch_rows: int = 1_000,
    scope: str | None = None,
    title: str = "Acme",
    window: Window | None = None,
) -> ExportData:
    """An export as a source gives it: read columns, and what a database would count and add."""
    given = dict(options or {})
    read = [
        column for column in find_needed_columns(spec, select_columns(spec, given)) if column.compute is None
    ]
    columns = tuple(map(column_of, read))
    rows = len(next(iter(cells.values())))
    table = pa.table({c.name: pa.array(cells[c.name], c.arrow_type) for c in columns})
    totals: dict[str, float] = {}
    for column in read:
        if column.parsed.kind.is_number:
            numbers = finite(cells[column.name])
            totals[column.name] = float(sum(numbers))
            totals[f"|{column.name}|"] = float(sum(map(abs, numbers)))
    return ExportData(
        dataset="sample",
        shape=tabular,
        scope=scope,
        title=title,
        subject={} if scope is None else {"id": scope, "name": title},
        options=given,
        tables={"rows": Table.of("rows", columns, table, batch_rows)},
        snapshot_at=datetime(2026, 3, 29, 23, 30, tzinfo=UTC),
        window=window,
        source_rows=rows,
        source_totals=totals,
        changed=Counter(),
        spec=spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    )


def finite(cells: Sequence[Any]) -> list[Any]:
    """The numbers among cells that are no NaN and not infinite."""
    return [cell for cell in cells if cell is not None and cell - cell == 0]


def shown(column: ColumnSpec, cell: Any) -> Any:
    """A cell of minor units as whole ones."""
    return None if cell is None else Decimal(cell).scaleb(-column.minor_digits)
