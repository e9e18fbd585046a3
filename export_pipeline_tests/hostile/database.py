"""A takeoff database whose every field is hostile, and what it holds as plain SQL reads it."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import cycle, groupby
from typing import Any

import sqlalchemy as sa

from export_pipeline.takeoff.source_tables import (
    ASSEMBLIES,
    CONDITIONS,
    DOCUMENTS,
    MEASUREMENTS,
    METADATA,
    PAGES,
    PROJECTS,
)
from export_pipeline_tests.hostile.strings import BROKEN_BYTES, NAUGHTY, NOTES, SHEET_NAMES
from export_pipeline_tests.takeoff_data import uid

PROJECT, OTHER = uid(1), uid(2)
TIMES = (
    datetime(2026, 3, 1, 12, 0, 0, 123456, UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(1899, 12, 31, tzinfo=UTC),
    datetime(1900, 2, 28, 23, 59, 59, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 1, UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
)
QUANTITIES = (
    1.0, 0.0, -0.0, 0.00005, 0.00015, -0.00005, 2.5, 1e-5, 123456.78905, 0.1 + 0.2, -4.25, 1 / 3, 1e15 + 0.25, 2.0**53 + 2,
    1e22, 5e-324, 2.2250738585072014e-308, 9007199254740993.0, 0.00004999999999999999, 1234567.00005, 99999.99995,
)  # fmt: skip
HUGE = (1e300, 1e300, 123.456)
SQUARE = {"points": [{"x": 0, "y": 0}, {"x": 100, "y": 0}, {"x": 100, "y": 100}, {"x": 0, "y": 100}]}
GEOMETRIES: tuple[tuple[str, Any], ...] = (
    ("polygon", SQUARE),
    ("rectangle", {"x": 10, "y": 20, "width": 30.5, "height": -40, "rotation": 30}),
    ("circle", {"center": {"x": 100, "y": 100}, "radius": 50}),
    ("line", {"start": {"x": 0, "y": 0}, "end": {"x": 300, "y": 400}}),
    ("polyline", {"points": [{"x": 0, "y": 0}, {"x": 1e6, "y": -1e6}, {"x": 5, "y": 5}]}),
    ("point", {"x": 12.5, "y": 0.1}),
    ("polygon", {"points": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]}),
    ("polygon", {"points": "=1+1"}),
    ("polygon", []),
    ("line", {"start": {"x": "0", "y": None}, "end": 5}),
    ("circle", {"center": {"x": 1, "y": 1}, "radius": -1}),
    ("circle", {"center": {"x": 1e308, "y": 1e308}, "radius": 1e308}),
    ("point", {"x": 1e300, "y": 5e-324}),
    ("rectangle", {"x": True, "y": {}, "width": [], "height": "\u202e<b>"}),
    ("polyline", {"points": [{"x": i, "y": -i} for i in range(400)]}),
    ("point", None),
    ("point", "=1+1"),
    ("point", 7),
    ("line", {"start": {"x": 0, "y": 0}, "end": {"x": 1, "y": 1}, "note": "a,\"b\"\n=1+1 \u2028 \ufffe ع 𠀀"}),
    ("=1+1", SQUARE),
    ("\u202epolygon", SQUARE),
    ("", {}),
    ("Polygon", SQUARE),
)  # fmt: skip
RAW_JSON = (
    "", " ", "{", "{\"x\": NaN, \"y\": 1}", "{\"x\": 1e999, \"y\": 0}", "{\"x\": 1, \"y\": 2} {\"x\": 3}", "null", "=1+1", "[" * 5000 + "]" * 5000,
    "{\"x\": \"\\ud800\", \"y\": 0}", "{\"x\": \"\\udc00\", \"y\": 0}", "{\"x\":1,\"x\":2,\"y\":3}", "{\"x\": 1, \"y\": 2}\n", "\t{\"x\": 01}", "{'x': 1}",
    "{\"x\": 123456789012345678901234567890.123456789, \"y\": 2}", "\ufeff{\"x\": 1, \"y\": 2}", "{\"\\u0000\": 1}", "{\"a\x00b\": 1}", "<x/>",
)  # fmt: skip
"""Texts that SQLite keeps in a JSON column."""

COLORS = (
    "#3B82F6", "3b82f6", "#abc", "", "red", "#GGGGGG", "-12345", "+12345", "#12345678", None, "0x1234", "1_2345", "１２３４５６",
    " #00FF00 ", "=1+1", "#\x0012345", "\u202e#111111",
)  # fmt: skip
KINDS = ("linear", "area", "volume", "count")
UNITS = ("LF", "SF", "CY", "EA")
ODD_KINDS = ("=1+1", "Linear", "", "<b>", "\u202eenil", "面積")
ODD_UNITS = ("=1+1", "lf", "", "m²", "<b>&amp;</b>", "\u202eFL", 'ft,"x"', "\n", "X" * 50)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the database; every text occurs in every field at any size."""

    measurements: int = 1320


def fill(engine: sa.Engine, size: Size | None = None) -> str:
    """Create the tables with two projects, of which the first is exported; gives its id."""
    METADATA.create_all(engine)
    nul = engine.dialect.name == "sqlite"
    made = _Rows(nul, size or Size())
    with engine.begin() as connection:
        for table, rows in made.tables():
            for _, alike in groupby(rows, key=lambda row: tuple(row)):
                connection.execute(sa.insert(table), list(alike))
    if nul:
        _damage(engine)
    return PROJECT


class _Rows:
    def __init__(self, nul: bool, size: Size) -> None:
        self.nul, self.size, self.next = nul, size, 10
        self.naughty = [text for text in NAUGHTY if nul or "\x00" not in text]

    def tables(self) -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
        texts = self.naughty
        yield PROJECTS, [
            self._row(
                id=project, name=name, description=note, client_name=client, status=status
            )
            for project, name, note, client, status in (
                (PROJECT, "=HYPERLINK(\"http://x.invalid\",\"a\")\u202e\x01/..\\\u0301 字😀", "\n".join(texts)[:60_000], "<b>&\"'\x0b", "\u202e draft<"),
                (OTHER, "SOMEBODY ELSE", "SOMEBODY ELSE", "SOMEBODY ELSE", "draft"),
            )
        ]  # fmt: skip
        documents = [
            self._row(project_id=PROJECT, filename=text, original_filename=text, file_size=2**63 - 1)
            for text in self._fit(500, texts)
        ]
        foreign = [self._row(project_id=OTHER, filename="SOMEBODY ELSE", original_filename="SOMEBODY ELSE")]
        yield DOCUMENTS, documents + foreign
        pages = list(self._pages(documents))
        elsewhere = [self._row(**_PAGE, document_id=foreign[0]["id"], sheet_number="SOMEBODY ELSE")]
        yield PAGES, pages + elsewhere
        conditions = list(self._conditions())
        theirs = [
            self._row(project_id=OTHER, name="SOMEBODY ELSE", measurement_type="linear", **_CONDITION_FACTS)
        ]
        yield CONDITIONS, conditions + theirs
        yield (
            MEASUREMENTS,
            [
                *self._measurements(conditions, pages, elsewhere[0]["id"]),
                self._measurement(theirs[0]["id"], pages[0]["id"], 0, notes="SOMEBODY ELSE"),
            ],
        )
        yield ASSEMBLIES, list(self._assemblies(conditions))

    def _row(self, **values: Any) -> dict[str, Any]:
        self.next += 1
        times = {
            "created_at": TIMES[self.next % len(TIMES)],
            "updated_at": TIMES[(self.next + 3) % len(TIMES)],
        }
        return {"id": uid(self.next), **times, **self._texts(values)}

    def _texts(self, values: dict[str, Any]) -> dict[str, Any]:
        if self.nul:
            return values
        return {k: v.replace("\x00", "") if isinstance(v, str) else v for k, v in values.items()}

    def _fit(self, length: int, texts: Sequence[str]) -> list[str]:
        return [text[:length] for text in texts]

    def _pages(self, documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        numbers = cycle((1, 2, 2**63 - 1, 0, -5, 10**15, 10**16 + 1))
        scales = cycle(
            (50.0, None, 0.0, -1.0, 1e300, 5e-324, math.inf, 12.5) + (() if self.nul else (math.nan,))
        )
        sizes = cycle(((3000, 2000), (0, 0), (-5, 7), (2**31 - 1, 1), (1, 1)))
        for index, document in enumerate(documents):
            sheets = self._shifted(index, 7)
            width, height = next(sizes)
            yield self._row(
                document_id=document["id"], page_number=next(numbers), width=width, height=height, dpi=(150, 0, -1)[index % 3],
                page_width_inches=(None, 36.0, -1.0, 1e300)[index % 4], page_height_inches=(24.0, None, math.inf)[index % 3],
                image_key=_cut(sheets[0], 500), title=_cut(sheets[1], 500), sheet_number=_cut(sheets[2], 50), sheet_title=_cut(sheets[3], 255),
                scale_text=_cut(sheets[4], 100), scale_value=next(scales), scale_unit=_cut(sheets[5], 20), scale_calibrated=index % 2 == 0,
            )  # fmt: skip
        for index in range(3):  # several pages of one document, and one where all that may be null is null
            yield self._row(**_PAGE | {"page_number": index + 3}, document_id=documents[0]["id"])

    def _shifted(self, index: int, many: int) -> list[str | None]:
        """Different texts for the fields of one row; every 11th is null."""
        texts = self.naughty
        fields = [texts[(index + 37 * field) % len(texts)] for field in range(many)]
        return [None if (index + field) % 11 == 10 else text for field, text in enumerate(fields)]

    def _conditions(self) -> Iterator[dict[str, Any]]:
        names = self._fit(255, [*self.naughty, *SHEET_NAMES, *(["twice"] * 3)])
        for index, name in enumerate(names):
            texts = self._shifted(index + 5, 8)
            kind = KINDS[index % 4] if index % 17 else ODD_KINDS[index // 17 % len(ODD_KINDS)]
            unit = UNITS[index % 4] if index % 13 else ODD_UNITS[index // 13 % len(ODD_UNITS)]
            note = NOTES[index % len(NOTES)] if index % 20 == 4 else texts[0]
            yield self._row(
                project_id=PROJECT, name=name, description=note, scope=_cut(texts[1], 100), category=_cut(texts[2], 100),
                measurement_type=kind, color=_cut(COLORS[index % len(COLORS)], 20), unit=unit, building=_cut(texts[3], 100), area=_cut(texts[4], 100),
                elevation=_cut(texts[5], 50), line_width=(2, None, 0, -5, 2**31 - 1)[index % 5], fill_opacity=(0.3, None, -1.0, 7.0, math.inf)[index % 5],
                depth=(None, 4.0, -1.0, 1e300, math.inf, 0.0)[index % 6], thickness=(None, 6.0, 5e-324)[index % 3], total_quantity=1.0,
                measurement_count=2**31 - 1, sort_order=(0, -1, 2**31 - 1, 3)[index % 4], is_ai_generated=index % 2 == 0, is_visible=index % 3 != 0,
            )  # fmt: skip

    def _measurements(
        self, conditions: list[dict[str, Any]], pages: list[dict[str, Any]], foreign_page: str
    ) -> Iterator[dict[str, Any]]:
        # The first condition has none, the second one, the others some; two hold the very large quantities.
        homes = cycle(condition["id"] for condition in conditions[4:])
        places = cycle(page["id"] for page in pages)
        yield self._measurement(conditions[1]["id"], pages[0]["id"], 0)
        for index in range(self.size.measurements):
            yield self._measurement(next(homes), next(places), index)
        for index, quantity in enumerate(HUGE):
            yield self._measurement(conditions[2]["id"], pages[0]["id"], index, quantity=quantity)
        infinite = (math.inf, -math.inf, 1.5) + (() if self.nul else (math.nan,))
        for index, quantity in enumerate(infinite):
            yield self._measurement(conditions[3]["id"], pages[1]["id"], index, quantity=quantity)
        for index in range(3):
            yield self._measurement(conditions[5]["id"], foreign_page, index)

    def _measurement(self, condition: str, page: str, index: int, **values: Any) -> dict[str, Any]:
        kind, geometry = GEOMETRIES[index % len(GEOMETRIES)]
        texts = self._shifted(index, 5)
        row = {
            "condition_id": condition, "page_id": page, "geometry_type": kind, "geometry_data": geometry, "quantity": QUANTITIES[index % len(QUANTITIES)],
            "unit": ODD_UNITS[index // 9 % len(ODD_UNITS)] if index % 9 == 8 else UNITS[index % 4], "pixel_length": (None, 1.5, -0.0, math.inf)[index % 4],
            "pixel_area": (None, 1e300, 5e-324)[index % 3], "is_ai_generated": index % 3 == 0, "ai_confidence": (None, 0.5, 7.0)[index % 3],
            "ai_model": _cut(texts[0], 100), "is_modified": index % 5 == 0, "is_verified": index % 2 == 0, "is_rejected": index % 29 == 28,
            "rejection_reason": texts[1], "review_notes": texts[2], "notes": NOTES[index // 110 % len(NOTES)] if index % 110 == 7 else texts[3],
        }  # fmt: skip
        if not self.nul and isinstance(geometry, dict):
            row["geometry_data"] = json.loads(json.dumps(geometry))
        return self._row(**row | values)

    def _assemblies(self, conditions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        top = Decimal("9999999999.99")
        for index, condition in enumerate(conditions):
            if index % 3 == 2 and index != 2:
                continue
            cost = (Decimal("12.34"), top, -top, Decimal(0))[index % 4]
            percents: tuple[float | None, ...] = (10.0, None, 1e300, -50.0, math.inf)
            yield self._row(
                condition_id=condition["id"], material_cost=cost, labor_cost=Decimal("0.01"), equipment_cost=cost, subcontract_cost=Decimal(0),
                other_cost=-cost, total_cost=cost, unit_cost=Decimal("999999.9999"), total_labor_hours=(None, 1e300, 5.25)[index % 3],
                overhead_percent=percents[index % 5], profit_percent=percents[index // 5 % 5], total_with_markup=cost,
            )  # fmt: skip


_PAGE = {
    "page_number": 1,
    "width": 3000,
    "height": 2000,
    "dpi": 150,
    "scale_value": None,
    "scale_calibrated": False,
}
_CONDITION_FACTS = {"unit": "LF", "total_quantity": 0.0, "measurement_count": 0, "sort_order": 0}


def _cut(text: str | None, length: int) -> str | None:
    return None if text is None else text[:length]


def _damage(engine: sa.Engine) -> None:
    """Values that only SQLite keeps: bytes that are not text, text that is not JSON."""
    raw = engine.raw_connection()
    cursor = raw.cursor()
    ids = [row[0] for row in cursor.execute("SELECT id FROM measurements ORDER BY id")]
    for position, data in enumerate(BROKEN_BYTES):
        cursor.execute(
            "UPDATE measurements SET notes = CAST(? AS TEXT) WHERE id = ?", (data, ids[50 + position])
        )
    for position, text in enumerate(RAW_JSON):
        cursor.execute("UPDATE measurements SET geometry_data = ? WHERE id = ?", (text, ids[100 + position]))
    cursor.execute(
        "UPDATE conditions SET category = CAST(? AS TEXT) WHERE name = 'twice'", (BROKEN_BYTES[0],)
    )
    raw.commit()
    raw.close()


# --- what is in it, read by plain SQL ---------------------------------------------------------------


@dataclass(slots=True)
class Truth:
    """The rows of the project as the database holds them, in the order that exports promise."""

    project: dict[str, Any]
    conditions: list[dict[str, Any]]
    pages: list[dict[str, Any]]
    measurements: list[dict[str, Any]]
    damaged: int


_SELECTS = {
    "project": "SELECT * FROM projects WHERE id = '{id}'",
    "conditions": "SELECT * FROM conditions WHERE project_id = '{id}'",
    "pages": "SELECT p.*, d.original_filename AS document FROM pages p JOIN documents d ON d.id = p.document_id WHERE d.project_id = '{id}'",
    "measurements": "SELECT m.* FROM measurements m JOIN conditions c ON c.id = m.condition_id WHERE c.project_id = '{id}' AND NOT m.is_rejected",
    "assemblies": "SELECT a.* FROM assemblies a JOIN conditions c ON c.id = a.condition_id WHERE c.project_id = '{id}'",
}  # fmt: skip


def truth(url: str, project: str = PROJECT) -> Truth:
    """Read a project with nothing but the database's own driver."""
    read = _sqlite if url.startswith("sqlite") else _postgres
    rows, damaged = read(url, project)
    (facts,) = rows["project"]
    order = lambda text: text.encode()  # noqa: E731
    conditions = sorted(rows["conditions"], key=lambda r: (r["sort_order"], order(r["name"]), r["id"]))
    pages = sorted(
        rows["pages"], key=lambda r: (order(r["document"]), r["document_id"], r["page_number"], r["id"])
    )
    documents = {row["document_id"]: row["document"] for row in pages}
    for row in pages:  # documents of one name have numbers
        alike = [id for id, name in documents.items() if name == row["document"]]
        number = f" ({alike.index(row['document_id']) + 1})" if len(alike) > 1 and row["document"] else ""
        row["label"] = row["document"] and row["document"] + number
    costs = {row["condition_id"]: row for row in rows["assemblies"]}
    for row in conditions:
        row["assembly"] = costs.get(row["id"])
    place = {row["id"]: number for number, row in enumerate(pages)}
    home = {row["id"]: number for number, row in enumerate(conditions)}
    measurements = sorted(
        rows["measurements"],
        key=lambda r: (
            home[r["condition_id"]],
            place.get(r["page_id"], len(pages)),
            r["created_at"],
            r["id"],
        ),
    )
    for row in measurements:
        row["page"] = pages[place[row["page_id"]]] if row["page_id"] in place else None
        row["condition"] = conditions[home[row["condition_id"]]]
    return Truth(facts, conditions, pages, measurements, damaged)


def _sqlite(url: str, project: str) -> tuple[dict[str, list[dict[str, Any]]], int]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.text_factory = bytes
    damaged = 0

    def text(value: Any) -> Any:
        nonlocal damaged
        if not isinstance(value, bytes):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            damaged += 1
            return value.decode("utf-8", "replace")

    values = {}
    for name, sql in _SELECTS.items():
        cursor = connection.execute(sql.format(id=project))
        names = [field[0] for field in cursor.description]
        values[name] = [
            {key: _typed(key, text(value)) for key, value in zip(names, row, strict=True)} for row in cursor
        ]
    connection.close()
    return values, damaged


def _typed(key: str, value: Any) -> Any:
    if value is None:
        return None
    if key in ("created_at", "updated_at"):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if key == "geometry_data":
        return str(value)  # a number alone is kept as a number by a JSON column of SQLite
    if key.startswith("is_") or key == "scale_calibrated":
        return bool(value)
    if key.endswith(("_cost", "_with_markup")):
        return Decimal(str(value))
    return value


def _postgres(url: str, project: str) -> tuple[dict[str, list[dict[str, Any]]], int]:
    import psycopg2
    import psycopg2.extras

    connection = psycopg2.connect(
        sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    psycopg2.extras.register_default_jsonb(connection, loads=lambda text: text)
    values = {}
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        for name, sql in _SELECTS.items():
            cursor.execute(sql.format(id=project))
            values[name] = [
                {k: v.astimezone(UTC) if isinstance(v, datetime) else v for k, v in row.items()}
                for row in cursor
            ]
    connection.close()
    return values, 0
