"""Requests that nobody means well: whatever is asked, a request is refused in one line or gives its own scope's rows.

`HOSTILE_REQUESTS` says how many there are for each database, `HOSTILE_SEED` which ones.
"""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.datasets.options import OptionError, parse_options
from export_pipeline.formats.options import FormatOptions
from export_pipeline.sources.snapshot import Snapshot, SourceError, open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.tabular import options
from export_pipeline_tests.hostile.strings import NAUGHTY
from export_pipeline_tests.sources.tables.shop import NAME, SCOPES, SPEC, TEXTS, fill

REQUESTS = int(os.environ.get("HOSTILE_REQUESTS", "400"))
SEED = int(os.environ.get("HOSTILE_SEED", "20261121"))
INJECTIONS = (
    "' OR '1'='1", "' OR 1=1 --", "1; DROP TABLE shops; --", "x') UNION SELECT id, name FROM shops --", "\\' OR 1=1 --", "$$; SELECT 1; $$",
    "s1' --", "s1/**/", "s1\x00", "s1 ", " s1", "Ｓ１", "s\u0131", "S1", "s1\u200b", "ſ1", "\ud800", "s1\ud83d", "%", "_", "s%", "*", "''", '"shop"',
    ":scope", ":id", "%(scope)s", "{scope}", "?", "NULL", "null", "None", "true", "0", "7 ", "07", "7.0", "+7", "７", "٧", "1e400", "NaN", "Infinity",
    "-" + "9" * 400, "9" * 5_000, "x" * 20_000, "a" * 10_000 + "'", "pg_sleep(5)", "(SELECT 1)", "E'\\x27'", "U&'\\0027'", "\r\n", "", "🏗" * 99,
    "{", "[", "../../etc/passwd", "id", "-id", "--id", "id desc", "id; --", "shop", "deleted_at", "shops.name", "clients.Full Name",
)  # fmt: skip
WORDS = (*INJECTIONS, *NAUGHTY, *TEXTS, *SCOPES)
DEEP: Any = []
for _ in range(50):
    DEEP = [DEEP]


def spec() -> dict[str, Any]:
    """The shop's export, with presets, and a column that not everybody may read."""
    columns = [dict(column) for column in SPEC["columns"]]
    columns.append({"name": "secret", "type": "text", "from": "kind", "readers": "owners"})
    columns.append({"name": "nobody", "type": "integer", "from": "quantity", "hidden": True})
    return {
        **SPEC,
        "columns": columns,
        "readers": {"owners": {"table": "Clients", "user": "Full Name", "scope": "Shop"}},
        "presets": {
            "few": ["id", "odd"],
            "paid": {"columns": "all", "filters": {"kind": {"equals": "paid"}}},
        },
    }


class Attacker:
    """Random requests, a few of them sound in all but one place."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.filters = list(SPEC["filters"])
        self.columns = [column["name"] for column in spec()["columns"]]

    def anything(self) -> Any:
        """A value of any type that JSON, YAML or a launchpad may give."""
        dice = self.dice
        odd = [
            None,
            True,
            0,
            -1,
            2**63,
            -(2**63) - 1,
            10**400,
            1.5,
            1e308,
            float("nan"),
            float("inf"),
            [],
            {},
            b"x",
            DEEP,
        ]
        if dice.random() < 0.7:
            return dice.choice(WORDS)
        return dice.choice(
            [
                *odd,
                {"equals": dice.choice(WORDS)},
                [dice.choice(WORDS), None],
                str(uuid.uuid4()),
                "2026-03-29",
                "9999-12-31",
            ]
        )

    def scope(self) -> str | None:
        return (
            self.dice.choice(list(SCOPES)) if self.dice.random() < 0.6 else self.dice.choice([*WORDS, None])
        )

    def asked(self) -> dict[str, Any]:
        """The options."""
        dice, request = self.dice, dict[str, Any]()
        if dice.random() < 0.8:
            request["filters"] = {
                self._name(self.filters): self._operators() for _ in range(dice.choice([1, 1, 2, 4]))
            }
        if dice.random() < 0.3:
            request["sort"] = [
                dice.choice(["", "-", "--"]) + self._name(SPEC["sort"]) for _ in range(dice.choice([1, 2]))
            ]
        if dice.random() < 0.3:
            request["columns"] = ["id", *(self._name(self.columns) for _ in range(dice.choice([1, 3])))]
        if dice.random() < 0.3:
            request["preset"] = dice.choice(["few", "paid", self.anything()])
        if dice.random() < 0.5:
            request["requested_by"] = self.anything()
        if dice.random() < 0.05:
            request[dice.choice(WORDS)] = self.anything()
        if dice.random() < 0.05:
            request[dice.choice(["filters", "sort", "columns"])] = self.anything()
        return request

    def _name(self, known: Any) -> str:
        return str(self.dice.choice(list(known)) if self.dice.random() < 0.93 else self.dice.choice(WORDS))

    def _operators(self) -> Any:
        dice = self.dice
        operator = dice.choice(["equals", "in", "range", "contains", "is_null", "equals", "in"])
        match operator:
            case "in":
                many = (
                    dice.choice([1, 1, 3, 50, 10_000, 10_001]) if dice.random() < 0.1 else dice.choice([1, 2])
                )
                value: Any = [self._value() for _ in range(min(many, 50))] * (many // min(many, 50))
            case "range":
                value = {dice.choice(["from", "to", "from", "to", "; --"]): self._value() for _ in range(2)}
            case "is_null":
                value = dice.choice([True, False, "true", "1; --", None])
            case _:
                value = self._value()
        if dice.random() < 0.03:
            operator = dice.choice(WORDS)
        return {operator: value} if dice.random() < 0.97 else self.anything()

    def _value(self) -> Any:
        dice = self.dice
        sound = [
            7,
            -1,
            "12.5",
            0.1,
            True,
            "2026-03-29",
            "2026-03-29T01:30:00+01:00",
            "2026-03-29T02:30:00",
            "paid",
            str(uuid.UUID(int=3 << 90)),
            "a",
        ]
        return dice.choice(sound) if dice.random() < 0.5 else self.anything()


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    url = f"sqlite:///{tmp_path}/shop.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url)
    tables = fill(engine)
    engine.dispose()
    return url, tables


def answer(snapshot: Snapshot, scope: str | None, asked: dict[str, Any]) -> list[dict[str, Any]] | str:
    """The rows, or the sentence with which a request is refused."""
    try:
        parsed, _ = parse_options(asked, options(spec()), FormatOptions)
        data = table.read(snapshot, Request("items", tabular, spec(), scope, parsed))
        rows: list[dict[str, Any]] = [
            row for batch in data.tables["rows"].open() for row in batch.to_pylist()
        ]
        assert data.source_rows == len(rows)
        return rows
    except (OptionError, SourceError) as error:
        return str(error)


@pytest.mark.slow
def test_no_foreign_row_and_no_error_of_a_database(shop: tuple[str, dict[str, list[dict[str, Any]]]]) -> None:
    url, tables = shop
    homes = {row["id"]: row["shop"] for row in tables[NAME] if row["deleted_at"] is None}
    owners = {(row["Full Name"], row["Shop"]) for row in tables["Clients"]}
    attacker, kinds = Attacker(SEED), Counter[str]()
    with open_snapshot(url) as snapshot:
        for number in range(REQUESTS):
            scope, asked = attacker.scope(), attacker.asked()
            ids = answer(snapshot, scope, asked)
            if isinstance(ids, str):
                kinds["refused"] += 1
                assert "\n" not in ids, (number, ids)
                assert 10 < len(ids) < 3_000, (number, ids)
                for word in (
                    "Traceback",
                    "sqlalchemy",
                    "psycopg",
                    "sqlite3.",
                    "Reading the source database failed",
                    "SELECT ",
                    "syntax error",
                ):
                    assert word not in ids or word in str(asked) or word in str(scope), (number, ids)
                continue
            kinds["rows" if ids else "empty"] += 1
            assert scope in SCOPES, (number, scope)
            foreign = [
                row["id"]
                for row in ids
                if "id" in row and homes.get(row["id"], "deleted") not in (scope, None)
            ]
            assert not foreign, (number, scope, asked)
            if ids and ids[0].get("secret") is not None:
                assert (asked.get("requested_by"), scope) in owners, (number, asked)
    assert kinds["rows"] > REQUESTS // 50
    assert kinds["refused"] > REQUESTS // 10
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM shops")).scalar() == len(SCOPES)
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["0c00", "0C00-0", "-0000-", "00000000-0c00-0000-0000-000000000000", "c000", "000000000c", "'", "{"],
)
def test_a_uuid_holds_a_text_as_it_is_printed(
    shop: tuple[str, dict[str, list[dict[str, Any]]]], text: str
) -> None:
    url, tables = shop
    kept = [row for row in tables[NAME] if row["deleted_at"] is None and row["shop"] in ("s1", None)]
    with open_snapshot(url) as snapshot:
        ids = answer(snapshot, "s1", {"filters": {"uid": {"contains": text}}})
    assert not isinstance(ids, str), ids
    assert {row["id"] for row in ids} == {
        row["id"] for row in kept if row["uid"] and text.lower() in str(row["uid"])
    }
