"""The expected cells of a random table in each format, written from docs/formats.md and not from the code."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from export_pipeline_tests.hostile.rules import REPLACED, is_formula
from export_pipeline_tests.hostile.tables.samples import Given, Sample
from export_pipeline_tests.hostile.tables.values import EPOCH, MICROSECOND, wall

Changed = Counter[tuple[str, str]]
GUARDED = "apostrophe put before text that looks like a formula"
TEXTS = ("text", "url", "json", "uuid", "enum")
NUMBERS = ("integer", "decimal", "money", "float", "percent")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
CYCLE = 146_097 * 86_400_000_000
_WIDE = Context(prec=800)


def header(column: Given, name: bool = False) -> str:
    """The header of a column."""
    if name:
        return column.name
    given = column.get("header")
    if given is not None:
        return str(given)
    return " ".join(word[:1].upper() + word[1:] for word in column.name.split("_") if word) or column.name


def values(column: Given) -> list[Any]:
    """The cells' values, without characters that no file may hold."""
    return [clean(c.truth) if isinstance(c.truth, str) else c.truth for c in column.cells]


def staged(sample: Sample) -> Changed:
    """The counts expected from reading and cleaning."""
    changed: Changed = Counter()
    for column in sample.columns:
        place = f"rows.{column.name}"
        for cell in column.cells:
            if cell.reason:
                changed[cell.reason, place] += 1
            if isinstance(cell.truth, str) and clean(cell.truth) != cell.truth:
                changed[REPLACED, place] += 1
    return changed


def labelled(column: Given, value: Any) -> Any:
    """The label shown to people."""
    if column.kind == "enum" and value is not None:
        return column.get("labels", {}).get(value, value)
    return value


def whole(column: Given, value: int | None, units: bool) -> Any:
    """Money of minor units as whole ones, where they are asked for."""
    if value is None or not units:
        return value
    return Decimal(value).scaleb(-column.get("minor_digits", 2), _WIDE)


def digits(column: Given, units: bool) -> int | None:
    """Decimals that are declared for people, or that money has."""
    if column.minor and not units:
        return None
    if column.get("digits") is not None:
        return int(column.spec["digits"])
    if column.minor:
        return int(column.get("minor_digits", 2))
    scale = re.search(r"money\(\d+,(\d+)\)", column.spec["type"])
    return int(scale[1]) if scale else None


def rounded(value: Any, places: int) -> Decimal:
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _WIDE)


def number(value: Any) -> str:
    """Every digit, nothing more."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return repr(value)
    if isinstance(value, int):
        return str(value)
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def iso(micros: int, zone: str | None) -> str:
    """A time as CSV and JSON print it."""
    local = wall(micros, zone)
    if not FIRST <= local <= LAST:
        local, zone = micros, "UTC"
    text = (EPOCH.replace(tzinfo=None) + local * MICROSECOND).isoformat("T", "microseconds")
    if zone is None:
        return text
    if zone == "UTC":
        return f"{text}Z"
    seconds = (local - micros) // 1_000_000
    hours, rest = divmod(abs(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{text}{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}" + (f":{rest:02}" if rest else "")


def by_pattern(value: Any, pattern: str, zone: str | None) -> tuple[str, bool]:
    """A date or time by a pattern, and whether it says less than there is."""
    if isinstance(value, date):
        parts = dict(zip(("yyyy", "MM", "dd"), value.isoformat().split("-"), strict=True))
        rest = parts | {"HH": "00", "mm": "00", "ss": "00"}
    else:
        local = wall(value, zone)
        # Years 0 and 10000 are there on the wall; after 400 years the calendar repeats itself.
        cycles = (local < FIRST) - (local > LAST)
        moment = EPOCH + (local + cycles * CYCLE) * MICROSECOND
        rest = {
            "yyyy": f"{moment.year - 400 * cycles:04}", "MM": f"{moment.month:02}", "dd": f"{moment.day:02}", "HH": f"{moment.hour:02}",
            "mm": f"{moment.minute:02}", "ss": f"{moment.second:02}",
        }  # fmt: skip
    rest["MMM"] = MONTHS[int(rest["MM"]) - 1]
    text = re.sub("yyyy|MMM|MM|dd|HH|mm|ss", lambda part: rest[part[0]], pattern)
    if isinstance(value, date):
        return text, not ("dd" in pattern and "yyyy" in pattern)
    finest = (
        10**6
        if "ss" in pattern
        else 60 * 10**6
        if "mm" in pattern
        else 3600 * 10**6
        if "HH" in pattern
        else 86_400 * 10**6
    )
    whole_day = all(part in pattern for part in ("yyyy", "dd")) and "M" in pattern
    return text, not whole_day or bool(wall(value, zone) % finest)


# --- csv --------------------------------------------------------------------------------------------


def csv_cell(column: Given, value: Any, options: dict[str, Any], changed: Changed) -> str:
    """The text of a cell that is not missing."""
    units = options.get("csv_money", "units") == "units"
    above = header(column, options.get("csv_headers") == "name")
    if column.kind in TEXTS:
        text = str(labelled(column, value))
        if is_formula(text):
            changed[GUARDED, above] += 1
            return f"'{text}"
        return text
    if column.kind == "boolean":
        labels = column.get("labels", {})
        return str(labels.get("true", "Yes") if value else labels.get("false", "No"))
    if column.kind in ("date", "timestamp"):
        zone, pattern = column.get("zone", "UTC"), column.get("pattern")
        if pattern:
            text, less = by_pattern(value, pattern, zone)
            if less:
                changed[f"printed as {pattern}", above] += 1
            return text
        return value.isoformat() if column.kind == "date" else iso(value, zone)
    shown = whole(column, value, units) if column.minor else value
    places = digits(column, units)
    text = number(shown)
    if places is not None and text not in ("NaN", "Infinity", "-Infinity"):
        near = rounded(shown, places)
        text = f"{near.copy_abs() if near.is_zero() else near:f}"
        lost = float(near) != shown if isinstance(shown, float) else near != shown
        if lost:
            changed[f"rounded to {places} decimals", above] += 1
    return text.replace(".", ",") if options.get("csv_decimal_comma") else text


def as_number(text: str, comma: bool) -> Any:
    """A printed number to compare: floats may be spelled with or without an exponent."""
    text = text.replace(",", ".") if comma else text
    return text if text in ("NaN", "Infinity", "-Infinity") else (float(text), math.copysign(1, float(text)))


# --- json -------------------------------------------------------------------------------------------


def pairs(text: str) -> Any:
    """A JSON value with its keys in order, twice where they are twice, and its numbers as they are written."""
    return json.loads(
        text, object_pairs_hook=tuple, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant
    )


class _Number(str):
    """A number as it is written; no text is equal to it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str(self) == str(other)

    __hash__ = str.__hash__


def _no_constant(word: str) -> Any:
    raise ValueError(word)


def embeddable(text: str) -> bool:
    """True if a text is JSON that is embedded: valid, at most 1000 levels deep, all numbers doubles."""
    depth = deepest = 0
    for character in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    if deepest > 1000:
        return False
    try:
        value = json.loads(text, parse_float=float, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return not _beyond(value)


def _beyond(value: Any) -> bool:
    if isinstance(value, float):
        return math.isinf(value)
    if isinstance(value, int):
        return abs(value) > 1.7976931348623157e308
    if isinstance(value, dict):
        return any(map(_beyond, value.values()))
    return isinstance(value, list) and any(map(_beyond, value))


def json_cell(column: Given, value: Any, units: bool, changed: Changed) -> Any:
    """The value that JSON holds, as `pairs` reads it."""
    if value is None:
        return None
    match column.kind:
        case "boolean":
            return value
        case "date":
            return value.isoformat()
        case "timestamp":
            return iso(value, column.get("zone", "UTC"))
        case "json":
            if embeddable(value):
                return pairs(value.replace("\r", " ").replace("\n", " "))
            changed["not valid JSON, written as a string", column.name] += 1
            return value
        case "float" | "percent":
            if not math.isfinite(value):
                changed["not a finite number, written as null", column.name] += 1
                return None
            return ("number", value, math.copysign(1, value))
        case "integer" | "decimal":
            return ("exact", Decimal(value))
        case "money":
            return ("exact", Decimal(whole(column, value, units) if column.minor else value))
    return value


def json_read(column: Given, value: Any) -> Any:
    """The result of `pairs`, in the same form."""
    if isinstance(value, _Number) and column.kind in ("float", "percent"):
        return ("number", float(value), math.copysign(1, float(value)))
    if isinstance(value, _Number) and column.kind in NUMBERS:
        return ("exact", Decimal(value))
    return value


def significant(value: Any) -> int:
    """The number of digits that a number needs."""
    return len(Decimal(value).normalize(_WIDE).as_tuple().digits)


def of(sample: Sample, row: int) -> Sequence[tuple[Given, Any]]:
    """A row's columns and values."""
    return [(column, values(column)[row]) for column in sample.columns]


def clean(text: str) -> str:
    """The text with illegal characters as U+FFFD."""
    bad = "\ufffe\uffff\u202d\u202e"
    return "".join("\ufffd" if (c < " " and c not in "\t\n\r") or c in bad else c for c in text)
