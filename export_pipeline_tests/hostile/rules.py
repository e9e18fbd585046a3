"""The documented rules of what a file may say differently, written a second time from their words alone."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from export_pipeline_tests.hostile.database import Truth

REPLACED = "characters that no file format can hold, replaced by U+FFFD"
DAMAGED = "bytes that are not UTF-8, replaced by U+FFFD"
TEXTS = {
    "conditions": ("id", "name", "description", "scope", "category", "measurement_type", "color", "unit", "building", "area", "elevation"),
    "pages": ("id", "document_id", "document", "image_key", "title", "sheet_number", "sheet_title", "scale_text", "scale_unit"),
    "measurements": (
        "id", "condition_id", "page_id", "geometry_type", "geometry_data", "unit", "ai_model", "rejection_reason", "review_notes", "notes",
    ),
}  # fmt: skip
_WIDE = Context(prec=800)


def clean(text: str | None) -> str | None:
    """Controls but tab and line ends, the two noncharacters of the first plane, the two overrides: U+FFFD."""
    if text is None:
        return None
    bad = lambda c: (c < " " and c not in "\t\n\r") or c in "\ufffe\uffff\u202d\u202e"  # noqa: E731
    return "".join("\ufffd" if bad(c) else c for c in text)


def is_formula(text: str | None) -> bool:
    """Starts like one, after whatever leading characters print as nothing; or with a tab or a line end."""
    if not text:
        return False
    if text[0] in "\t\r\n":
        return True
    for character in text:
        if character in "=+-@＝＋－＠":
            return True
        if not (character.isspace() or unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cf")):
            return False
    return False


def rounded(value: float, digits: int) -> Decimal:
    """As people round the number they are shown: half away from zero."""
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _WIDE)


def loses_digits(value: float | None, digits: int) -> bool:
    """True if rounding changes the number."""
    return value is not None and math.isfinite(value) and float(rounded(value, digits)) != value


def joined(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a measurement takes from its condition and page, cleaned."""
    page: Mapping[str, Any] = row["page"] or {}
    return {
        "condition": clean(row["condition"]["name"]),
        "document": clean(page.get("label")),
        "page_number": page.get("page_number"),
        "sheet_number": clean(page.get("sheet_number")),
        "sheet_title": clean(page.get("sheet_title")),
    }


def review(row: Mapping[str, Any]) -> str:
    """Text that the review of a measurement that was not rejected has said."""
    if not row["is_verified"]:
        return "pending"
    return "modified" if row["is_modified"] else "approved"


def replaced(truth: Truth) -> Counter[tuple[str, str]]:
    """The number of cells of each column with illegal characters."""
    counts: Counter[tuple[str, str]] = Counter()

    def count(where: str, texts: Iterable[str | None]) -> None:
        number = sum(clean(text) != text for text in texts)
        if number:
            counts[REPLACED, where] = number

    for table, names in TEXTS.items():
        for name in names:
            count(f"{table}.{name}", (row[name] for row in getattr(truth, table)))
    count("pages.document_label", (row["label"] for row in truth.pages))
    count("measurements.condition", (row["condition"]["name"] for row in truth.measurements))
    for name in ("document", "sheet_number", "sheet_title"):
        count(f"measurements.{name}", (row["page"][name] for row in truth.measurements if row["page"]))
    count("title", [truth.project["name"]])
    for name in ("name", "description", "client_name", "status"):
        count(f"takeoff.{name}", [truth.project[name]])
    return counts


def totals(truth: Truth) -> dict[str, tuple[int, float]]:
    """Count and sum of each condition's measurements, by its id; what is no number adds nothing."""
    sums = {row["id"]: (0, 0.0) for row in truth.conditions}
    for row in truth.measurements:
        count, total = sums[row["condition_id"]]
        value = row["quantity"]
        sums[row["condition_id"]] = (count + 1, total + (value if math.isfinite(value) else 0.0))
    return sums
