"""The expected content of an export of the shop, computed in plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from export_pipeline_tests.sources.tables.shop import NAME, ODD

BERLIN = ZoneInfo("Europe/Berlin")


def _nulls_last(rows: list[dict[str, Any]], key: str, down: bool = False) -> None:
    rows.sort(key=lambda row: (row[key] is not None) if down else (row[key] is None))
    there = [row for row in rows if row[key] is not None]
    there.sort(key=lambda row: str(row[key]) if key == "uid" else row[key], reverse=down)
    if down:  # ties keep the order they had
        there = []
        for row in rows:
            if row[key] is not None:
                place = next((i for i, other in enumerate(there) if other[key] < row[key]), len(there))
                there.insert(place, row)
    rows[:] = there + [row for row in rows if row[key] is None]


class Oracle:
    """The shop's rows as an export shows them."""

    def __init__(self, tables: Mapping[str, list[dict[str, Any]]]) -> None:
        clients = {row["id"]: row for row in tables["Clients"]}
        states: dict[str, dict[str, Any]] = {}
        for state in sorted(
            tables["states"], key=lambda s: (s["rank"] is None, -(s["rank"] or 0), s["code"], s["label"])
        ):
            states.setdefault(state["code"], state)
        self.rows = []
        for row in tables[NAME]:
            if row["deleted_at"] is not None:
                continue
            client = clients.get(row["client_id"]) or {}
            tags = [tag for tag in tables["tags"] if tag["item"] == row["id"]]
            tags.sort(key=lambda tag: tag["id"])
            tags.sort(key=lambda tag: (tag["label"] is None, tag["label"] or ""))
            labels = [tag["label"] for tag in tags if tag["label"] is not None]
            names = [clients.get(tag["client_id"], {}).get("Full Name") for tag in tags]
            self.rows.append(
                {
                    **row,
                    "odd": row[ODD],
                    "uid": row["uid"] and str(row["uid"]),
                    "client": client.get("Full Name"),
                    "state": states.get(client.get("state") or "", {}).get("label"),
                    "labels": ", ".join(labels) if labels else None,
                    "tag": labels,
                    "tag_clients": "|".join(n for n in names if n is not None)
                    if any(n is not None for n in names)
                    else None,
                    "tags": tags,
                    "clients": clients,
                }
            )

    def chosen(
        self, scope: str, filters: Mapping[str, Mapping[str, Any]], sort: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The rows in order. Operators' values are as the options give them."""
        rows = [
            row
            for row in self.rows
            if row["shop"] in (scope, None)
            and all(
                _holds(row[name], operator, value, name)
                for name, operators in filters.items()
                for operator, value in operators.items()
            )
        ]
        rows.sort(key=lambda row: row["id"])
        for word in reversed(sort or ["-day"]):
            _nulls_last(rows, word.removeprefix("-"), word.startswith("-"))
        return rows


def _holds(cell: Any, operator: str, value: Any, name: str) -> bool:
    if isinstance(cell, list):
        if operator == "is_null":
            return (not cell) == value
        return any(_holds(one, operator, value, name) for one in cell)
    if operator == "is_null":
        return (cell is None) == value
    if cell is None:
        return False
    match operator:
        case "equals":
            return _same(cell, value, name)
        case "in":
            return any(_same(cell, one, name) for one in value)
        case "contains":
            return str(value).lower() in str(cell).lower()
    first, last = value.get("from"), value.get("to")
    after = first is None or cell >= (_day(first, name)[0] if _is_day(first, name) else first)
    if last is None:
        return after
    return after and (cell < _day(last, name)[1] if _is_day(last, name) else cell <= last)


def _is_day(value: Any, name: str) -> bool:
    return name in ("at", "wall") and not isinstance(value, datetime)


def _same(cell: Any, value: Any, name: str) -> bool:
    if _is_day(value, name):
        start, end = _day(value, name)
        return bool(start <= cell < end)
    return bool(cell == value)


def _day(day: date, name: str) -> tuple[datetime, datetime]:
    zone = BERLIN if name == "at" else None
    start, end = (datetime.combine(d, time(), zone) for d in (day, day + timedelta(days=1)))
    return (start.astimezone(UTC), end.astimezone(UTC)) if zone else (start, end)
