"""NaN and infinities among decimals: Arrow's decimals cannot hold them, so such a column holds strings."""

from __future__ import annotations

from export_pipeline.core.arrow import pa, pc

SPECIAL = ("NaN", "Infinity", "-Infinity")


def is_special(array: pa.Array) -> pa.Array:
    """Return which strings of a column of numbers are NaN or infinite; false for null."""
    return pc.is_in(array, pa.array(SPECIAL, pa.string()))


def to_finite_decimals(array: pa.Array, type: pa.DataType | None = None) -> pa.Array:
    """Convert a column's number strings to decimals, NaN and infinities to null. Other arrays are unchanged.

    Args:
        array: Cells of a column of decimals.
        type: A decimal type; by default one as wide as the cells need.

    Raises:
        pa.ArrowInvalid: A number has more digits than the type.
    """
    if not pa.types.is_string(array.type):
        return array
    texts = pc.if_else(is_special(array), pa.scalar(None, pa.string()), array)
    return texts.cast(type or _wide_enough(texts))


def strip_trailing_zeros(array: pa.Array) -> pa.Array:
    """Return number strings without trailing zeros after the decimal point: `1.50` becomes `1.5`."""
    trimmed = pc.ascii_rtrim(pc.ascii_rtrim(array, "0"), ".")
    return pc.if_else(pc.match_substring(array, "."), trimmed, array)


def _wide_enough(texts: pa.Array) -> pa.DataType:
    point = pc.find_substring(texts, ".")
    has_point = pc.greater_equal(point, 0)
    scale = pc.if_else(has_point, pc.subtract(pc.subtract(pc.utf8_length(texts), point), 1), 0)
    return pa.decimal256(76, pc.max(scale).as_py() or 0)
