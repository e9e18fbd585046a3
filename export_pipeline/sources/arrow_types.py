"""From what a driver hands over to the Arrow types of the columns that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model.columns import ARROW_TYPES, Column

# 0001-01-01 and 9999-12-31T23:59:59.999999 as microseconds; PostgreSQL's infinities lie outside.
_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999


def to_kind(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.RecordBatch:
    """A driver's batch with the declared types, field by field in order.

    Raises:
        pa.ArrowException: a cell does not fit, e.g. a number with more digits than its decimal type.
    """
    arrays = [_convert(batch.column(i), ARROW_TYPES[column.kind]) for i, column in enumerate(columns)]
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def from_rows(rows: Sequence[Sequence[Any]], columns: Sequence[Column]) -> pa.RecordBatch:
    """Rows of Python values with the declared types; texts that hold numbers or times are parsed.

    Raises:
        ValueError: a cell cannot be read as its column's kind; the message names both.
    """
    arrays = []
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        wanted = ARROW_TYPES[column.kind]
        try:
            arrays.append(_array(cells, wanted))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"column {column.name!r} holds a value that is no {column.kind}: {error}"
            ) from error
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def _convert(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):  # numeric arrives as its exact text
        array = array.storage
    if pa.types.is_timestamp(wanted) and pa.types.is_timestamp(array.type):
        micros = array.cast(pa.timestamp("us", tz=array.type.tz)).view(pa.int64())
        inside = pc.and_(
            pc.greater_equal(micros, pa.scalar(_FIRST_MICROSECOND)),
            pc.less_equal(micros, pa.scalar(_LAST_MICROSECOND)),
        )
        return pc.if_else(inside, micros, pa.scalar(None, pa.int64())).view(wanted)
    if pa.types.is_decimal(wanted) and pa.types.is_string(array.type):
        finite = pc.match_substring_regex(array, r"^-?[0-9.]+$")
        array = pc.if_else(finite, array, pa.scalar(None, pa.string()))
    return array if array.type == wanted else array.cast(wanted)


def _array(cells: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    if pa.types.is_string(wanted):
        try:
            return pa.array(cells, wanted)
        except (pa.ArrowException, TypeError):  # SQLite keeps any type in any column
            return pa.array([_text(cell) for cell in cells], wanted)
    if pa.types.is_boolean(wanted):
        return pa.array([None if cell is None else bool(cell) for cell in cells], wanted)
    if pa.types.is_decimal(wanted):
        return pa.array([None if cell is None else Decimal(str(cell)) for cell in cells], wanted)
    if pa.types.is_timestamp(wanted):
        return _times(pa.array([_text(cell) for cell in cells], pa.string())).cast(wanted)
    return pa.array(cells, wanted)


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return str(cell)


def _times(texts: pa.Array) -> pa.Array:
    """ISO 8601 texts as UTC times; a text without a zone is UTC, as SQLAlchemy stores it."""
    zoned = pc.fill_null(pc.match_substring_regex(texts, r":.*(Z|[+-]\d\d:?\d\d)$"), False)
    nothing = pa.scalar(None, pa.string())
    if not pc.any(zoned).as_py():
        return pc.assume_timezone(texts.cast(pa.timestamp("us")), "UTC")
    with_zone = pc.if_else(zoned, texts, nothing).cast(pa.timestamp("us", tz="UTC"))
    return pc.coalesce(with_zone, _times(pc.if_else(zoned, nothing, texts)))
