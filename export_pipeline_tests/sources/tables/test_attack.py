"""Random requests against an oracle: no foreign row, no database error, exactly the right rows."""

import os
import random
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.sources.snapshot import Snapshot, open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.tabular import options
from export_pipeline_tests.sources.tables.oracle import Oracle
from export_pipeline_tests.sources.tables.shop import KINDS, SCOPES, SPEC, TEXTS, fill, moments
from export_pipeline_tests.sources.wrong_settings import wrong_reader

REQUESTS = int(os.environ.get("EXPORT_TEST_PAIRS", "300"))
HOSTILE = [*TEXTS, "' OR 1=1 --", "a' UNION SELECT * FROM shops --", "x" * 9_000, "\\", "{}", "s1"]


def _value(dice: random.Random, name: str) -> Any:
    match name:
        case "quantity" | "cents":
            return dice.choice([0, 1, -1, 7, 2**63 - 1, -(2**63), 2**53 + 1, dice.randint(-500, 500)])
        case "price":
            return Decimal(dice.choice(["0", "12.5", "12.50", "-0.0001", "99999999.9999", "1e30", "7"]))
        case "ratio":
            return dice.choice([0.1, -1.5, 1e300, 5e-324, 3.0, -1e308, 0.30000000000000004])
        case "active":
            return dice.random() < 0.5
        case "day":
            return dice.choice([*(m.date() for m in moments()), date(1, 1, 1), date(9999, 12, 31)])
        case "at":
            moment = dice.choice(
                [*moments(), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
            )
            return moment if dice.random() < 0.6 else moment.date().replace(year=2026)
        case "wall":
            moment = dice.choice(moments()).replace(tzinfo=None)
            return moment if dice.random() < 0.6 else moment.date()
        case "kind":
            return dice.choice([*KINDS, *HOSTILE])
        case "uid":
            return str(uuid.UUID(int=dice.randint(1, 8) << 90))
    return dice.choice(HOSTILE)


def _filters(dice: random.Random) -> dict[str, dict[str, Any]]:
    filters: dict[str, dict[str, Any]] = {}
    names = [name for name in SPEC["filters"] if name != "client_id"]
    for name in dice.sample(names, dice.choice([0, 1, 1, 1, 2, 3])):
        declared = SPEC["filters"][name]
        operators = declared["operators"] if isinstance(declared, dict) else declared
        operator = dice.choice(operators)
        if operator == "is_null":
            value: Any = dice.random() < 0.5
        elif operator == "in":
            value = [_value(dice, name) for _ in range(dice.choice([1, 2, 5, 30]))]
        elif operator == "range":
            first, last = _value(dice, name), _value(dice, name)
            if type(first) is type(last) and first > last:
                first, last = last, first
            value = {"from": first, "to": last}
            if dice.random() < 0.4:
                del value[dice.choice(["from", "to"])]
        elif operator == "contains":
            value = dice.choice([t for t in HOSTILE if t != "z\u0301"]) if dice.random() < 0.7 else "\\"
            value = value[: dice.choice([1, 2, 9_000])] or "a"
        else:
            value = _value(dice, name)
        filters[name] = {operator: value}
    return filters


def _request(scope: str | None, **asked: Any) -> Request:
    return Request("items", tabular, SPEC, scope, options(SPEC)(**asked))


def _export(snapshot: Snapshot, scope: str | None, **asked: Any) -> ExportData:
    return table.read(snapshot, _request(scope, **asked))


@pytest.fixture(params=["sqlite", "postgresql", "wrong settings"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Oracle, int]:
    """A filled shop's URL, what is in it, and how many requests to try."""
    url, requests = f"sqlite:///{tmp_path}/shop.db", REQUESTS
    if request.param != "sqlite":
        url = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url)
    tables = fill(engine)
    engine.dispose()
    if request.param == "wrong settings":
        url, requests = wrong_reader(request.getfixturevalue("postgres"), url), REQUESTS // 3
    return url, Oracle(tables), requests


@pytest.mark.slow
def test_random_requests_give_what_they_ask_for(shop: tuple[str, Oracle, int]) -> None:
    url, oracle, requests = shop
    dice = random.Random(20260329)
    plain = [c["name"] for c in SPEC["columns"] if c["name"] not in ("tags", "data")]
    with open_snapshot(url) as snapshot:
        for _ in range(requests):
            scope, filters = dice.choice(list(SCOPES)), _filters(dice)
            sort = [dice.choice(["", "-"]) + n for n in dice.sample(SPEC["sort"], dice.choice([0, 1, 2]))]
            columns = dice.sample([n for n in plain if n != "id"], dice.choice([1, 3, 6]))
            data = _export(snapshot, scope, filters=filters, sort=sort, columns=["id", *columns])
            rows = data.tables["rows"].arrow().to_pylist()
            expected = oracle.chosen(scope, filters, sort)
            request = (scope, filters, sort)
            assert [row["id"] for row in rows] == [row["id"] for row in expected], request
            assert data.source_rows == len(expected), request
            for row, right in zip(rows, expected, strict=True):
                assert row == {name: right[name] for name in row}, request
        assert not data.changed
