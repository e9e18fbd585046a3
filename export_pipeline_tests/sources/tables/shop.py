"""A small application with hostile names and values, on any database, and what its rows are in plain Python."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

NAME = 'Order "Items"; --'
ODD = "odd'name %s :x"
SCOPES = {"s1": "One", "S1": "one", "s'1": "It's", "7": "Seven", "": "Nobody"}
TEXTS = [
    "", "a", "A", "ä", "Ä", "a%b", "a_b", "a\\b", "a'b", '"', "; DROP TABLE x; --", "\\'; --", "007", "1E5", "NULL",
    "😀", "שלום", "x" * 300, "\n", " a ", "$$", ":name", "%s", "ｆ", "z\u0301", "Z",
]  # fmt: skip
KINDS = ["new", "paid", "re'turned"]

METADATA = sa.MetaData()
SHOPS = sa.Table(
    "shops", METADATA, sa.Column("id", sa.Text, primary_key=True), sa.Column("name", sa.Text, nullable=False)
)
CLIENTS = sa.Table(
    "Clients",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("Shop", sa.Text, sa.ForeignKey("shops.id")),
    sa.Column("Full Name", sa.Text),
    sa.Column("state", sa.Text),
)
STATES = sa.Table(  # no key: several rows may match
    "states", METADATA, sa.Column("code", sa.Text), sa.Column("label", sa.Text), sa.Column("rank", sa.Integer)
)
ITEMS = sa.Table(
    NAME,
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("shop", sa.Text),
    sa.Column("client_id", sa.BigInteger),
    sa.Column(ODD, sa.Text),
    sa.Column("quantity", sa.BigInteger),
    sa.Column("price", sa.Numeric(12, 4)),
    sa.Column("cents", sa.BigInteger),
    sa.Column("ratio", sa.Double),
    sa.Column("active", sa.Boolean),
    sa.Column("day", sa.Date),
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("wall", sa.DateTime),
    sa.Column("kind", sa.Enum(*KINDS, name="item_kind")),
    sa.Column("uid", sa.Uuid),
    sa.Column("data", sa.JSON),
    sa.Column("deleted_at", sa.DateTime),
)
TAGS = sa.Table(
    "tags",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("item", sa.BigInteger),
    sa.Column("label", sa.Text),
    sa.Column("amount", sa.Numeric(20, 2)),
    sa.Column("big", sa.BigInteger),
    sa.Column("at", sa.DateTime),
    sa.Column("hot", sa.Boolean),
    sa.Column("client_id", sa.BigInteger),
)

SPEC: dict[str, Any] = {
    "source": {
        "table": NAME,
        "where": {"deleted_at": None},
        "order": ["-day"],
        "relations": {
            "client": {"table": "Clients", "from": "client_id"},
            "state": {"table": "states", "from": "client.state", "to": "code", "order": ["-rank"]},
            "tags": {"table": "tags", "from": "id", "to": "item", "many": True, "order": ["label"]},
            "tag_client": {"table": "Clients", "from": "tags.client_id"},
        },
    },
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "shop"},
        {"name": "odd", "from": ODD},
        {"name": "quantity", "type": "integer"},
        {"name": "price", "type": "decimal(12,4)"},
        {"name": "cents", "type": "money"},
        {"name": "ratio", "type": "float"},
        {"name": "active", "type": "boolean"},
        {"name": "day", "type": "date"},
        {"name": "at", "type": "timestamp", "zone": "Europe/Berlin"},
        {"name": "wall", "type": "timestamp", "zone": None},
        {"name": "kind", "type": "enum"},
        {"name": "uid", "type": "uuid"},
        {"name": "data", "type": "json"},
        {"name": "client", "from": "client.Full Name"},
        {"name": "state", "from": "state.label"},
        {"name": "labels", "from": "tags.label", "separator": ", "},
        {"name": "tag_clients", "from": "tag_client.Full Name", "separator": "|"},
        {
            "name": "tags",
            "type": "json",
            "nested": {
                "from": "tags",
                "fields": {
                    "label": "label", "amount": "amount", "big": "big", "at": "at", "hot": "hot",
                    "client": {"from": "tag_client", "fields": {"name": "Full Name"}},
                },
            },
        },
    ],
    "filters": {
        **{name: ["equals", "in", "contains", "is_null"] for name in ("odd", "kind", "client", "state", "uid")},
        **{
            name: ["equals", "in", "range", "is_null"]
            for name in ("quantity", "price", "cents", "ratio", "day", "at", "wall")
        },
        "active": ["equals", "in", "is_null"],
        "tag": {"operators": ["equals", "in", "contains", "is_null"], "column": "tags.label"},
        "client_id": {
            "operators": ["equals", "in"], "column": "client_id", "type": "integer",
            "among": {"table": "Clients", "scope": "Shop"},
        },
    },
    "sort": [
        "id", "odd", "quantity", "price", "cents", "ratio", "active", "day", "at", "wall", "kind", "uid", "client"
    ],
    "scope": {"column": "shop", "table": "shops", "shared": True},
    "window": {"column": "at"},
}  # fmt: skip


def moments() -> list[datetime]:
    """Around the days that Berlin's clocks change, and at the ends of its days."""
    times = []
    for day in (date(2026, 3, 28), date(2026, 3, 29), date(2026, 10, 25), date(1969, 12, 31)):
        start = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
        times += [start + timedelta(minutes=30 * step) for step in range(5)]
        times += [start - timedelta(microseconds=1), start + timedelta(seconds=1, microseconds=120_000)]
    return times


def fill(engine: sa.Engine, seed: int = 5, rows: int = 220) -> dict[str, list[dict[str, Any]]]:
    """Make the tables; gives their rows as Python values by table."""
    dice = random.Random(seed)

    def maybe(value: Any) -> Any:
        return None if dice.random() < 0.15 else value

    shops = list(SCOPES)
    clients = [
        {
            "id": n,
            "Shop": shops[n % 4],
            "Full Name": maybe(dice.choice(TEXTS)),
            "state": maybe(dice.choice("abc")),
        }
        for n in range(1, 13)
    ]
    states = [{"code": c, "label": f"{c}{n}", "rank": maybe(n)} for c in "ab" for n in range(3)]
    whole = [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 7]
    items = [
        {
            "id": (2**62 if n % 5 == 0 else 0) + n,
            "shop": maybe(dice.choice(shops[:4])),
            "client_id": maybe(dice.randint(1, 14)),
            ODD: maybe(dice.choice(TEXTS)),
            "quantity": maybe(dice.choice(whole)),
            "price": maybe(Decimal(dice.choice(["0", "12.5", "-0.0001", "99999999.9999", "7"]))),
            "cents": maybe(dice.randint(-500, 500)),
            "ratio": maybe(dice.choice([0.1, -1.5, 1e300, 5e-324, 3.0])),
            "active": maybe(dice.random() < 0.5),
            "day": maybe(dice.choice(moments()).date()),
            "at": maybe(dice.choice(moments())),
            "wall": maybe(dice.choice(moments()).replace(tzinfo=None)),
            "kind": maybe(dice.choice(KINDS)),
            "uid": maybe(uuid.UUID(int=dice.randint(1, 6) << 90)),
            "data": maybe({"a": [1, "x"]}),
            "deleted_at": None if dice.random() < 0.9 else datetime(2026, 1, 1),
        }
        for n in range(rows)
    ]
    tags = [
        {
            "id": n,
            "item": dice.choice(items)["id"],
            "label": maybe(dice.choice(TEXTS)),
            "amount": maybe(Decimal(dice.randint(-(10**12), 10**12)) / 100),
            "big": maybe(dice.choice(whole)),
            "at": maybe(dice.choice(moments()).replace(tzinfo=None)),
            "hot": maybe(dice.random() < 0.5),
            "client_id": maybe(dice.randint(1, 14)),
        }
        for n in range(rows)
    ]
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    made = {SHOPS: [{"id": k, "name": v} for k, v in SCOPES.items()], CLIENTS: clients, STATES: states}
    made |= {ITEMS: items, TAGS: tags}
    with engine.begin() as connection:
        for table, table_rows in made.items():
            connection.execute(table.insert(), table_rows)
    return {table.name: table_rows for table, table_rows in made.items()}
