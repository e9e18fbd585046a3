"""NaN and infinities among decimals, which Arrow's decimals cannot be: such a column is carried as texts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

SPECIAL = ("NaN", "Infinity", "-Infinity")


def is_special(array: pa.Array) -> pa.Array:
    """Return which of a column's number texts are NaN or infinite; false for null."""
    return pc.is_in(array, pa.array(SPECIAL, pa.string()))


def finite_decimals(array: pa.Array, wanted: pa.DataType | None = None) -> pa.Array:
    """Return the decimals of a column's number texts, null for NaN and infinities; any other array as it is.

    Args:
        array: Cells of a column of decimals.
        wanted: A decimal type; by default one as wide as the cells need.

    Raises:
        pa.ArrowInvalid: a number has more digits than the type.
    """
    if not pa.types.is_string(array.type):
        return array
    texts = pc.if_else(is_special(array), pa.scalar(None, pa.string()), array)
    return texts.cast(wanted or _wide_enough(texts))


def plain_numbers(array: pa.Array) -> pa.Array:
    """Return number texts without the zeros behind their decimals: `1.50` is `1.5`."""
    trimmed = pc.ascii_rtrim(pc.ascii_rtrim(array, "0"), ".")
    return pc.if_else(pc.match_substring(array, "."), trimmed, array)


def _wide_enough(texts: pa.Array) -> pa.DataType:
    point = pc.find_substring(texts, ".")
    has_point = pc.greater_equal(point, 0)
    behind = pc.if_else(has_point, pc.subtract(pc.subtract(pc.utf8_length(texts), point), 1), 0)
    return pa.decimal256(76, pc.max(behind).as_py() or 0)
