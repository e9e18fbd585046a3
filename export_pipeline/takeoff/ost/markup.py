"""Elements, attribute values, numbers, dates and colors as On-Screen Takeoff writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

NEWLINE = "\r\n"
LARGEST_INTEGER = 2**31 - 1
"""Largest UID, number or other integer that On-Screen Takeoff stores."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&apos;",
        "\t": "&#x9;",
        "\n": "&#xa;",
        "\r": "&#xd;",
    }
)
_COLOR = re.compile(r"#?(?:([0-9A-Fa-f]{2}){3}|[0-9A-Fa-f]{3})")

Value = str | int | float | None


def has_illegal(text: str) -> bool:
    """True if the string has characters that XML 1.0 cannot hold."""
    return _ILLEGAL.search(text) is not None


def escape(text: str) -> str:
    """Escape a string for a quoted attribute; characters that XML 1.0 cannot hold become U+FFFD."""
    return _ILLEGAL.sub(REPLACEMENT, text).translate(_ESCAPES)


def format_number(value: float) -> str:
    """Format a number in full, without exponent, without a point if it is whole; 0 if not finite."""
    if not math.isfinite(value):
        return "0"
    digits = format(Decimal(repr(value)), "f")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits == "-0" else digits


def tag(name: str, attributes: Mapping[str, Value] | None = None, *, empty: bool = False) -> str:
    """Return a start tag with its line end, or a whole empty element. None becomes an empty string."""
    parts = [f"<{name}"]
    for key, value in (attributes or {}).items():
        text = format_number(value) if isinstance(value, int | float) else escape(value or "")
        parts.append(f' {key}="{text}"')
    parts.append(f"{'/' if empty else ''}>{NEWLINE}")
    return "".join(parts)


def end(name: str) -> str:
    """Return an end tag with its line end."""
    return f"</{name}>{NEWLINE}"


def container(name: str, rows: list[str]) -> str:
    """Return a container around finished elements, self-closed if there are none."""
    return f"{tag(name)}{''.join(rows)}{end(name)}" if rows else tag(name, empty=True)


def moment(value: object) -> str:
    """Format a datetime, or its ISO string, as "Y M D h m s" in UTC; "" for anything else.

    No zone means UTC.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return ""
    if not isinstance(value, datetime):
        return ""
    utc = value.astimezone(UTC) if value.tzinfo else value
    return f"{utc.year} {utc.month} {utc.day} {utc.hour} {utc.minute} {utc.second}"


def guid(value: object) -> str:
    """Return a UUID in braces and capitals, or "" for anything else."""
    try:
        return f"{{{str(UUID(str(value))).upper()}}}"
    except ValueError:
        return ""


def colorref(text: object) -> int | None:
    """Return red + 256 green + 65536 blue of "#RRGGBB" or "#RGB"; None for anything else."""
    if not isinstance(text, str) or not _COLOR.fullmatch(text.strip()):
        return None
    digits = text.strip().removeprefix("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    return int.from_bytes(bytes.fromhex(digits), "little")
