"""A sample bookkeeping application: orders bought and resold, money in cents, remarks, and sellers.

Two shops share its tables, and one of them has just opened. Everything is generated from a seed, so the
content is always the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from export_pipeline.demo.filling import Moment, Row, Uuid, refill, uuid_of

METADATA = sa.MetaData()

ACCOUNTS = sa.Table(
    "accounts", METADATA,
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("account_code", sa.String(40), nullable=False, unique=True),
    sa.Column("name", sa.String(200), nullable=False),
)  # fmt: skip

RECORDS = sa.Table(
    "bookkeeping_records", METADATA,
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("account_id", Uuid, sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("ebay_order_id", sa.String(60), nullable=False),
    sa.Column("sale_date", sa.Date, nullable=False),
    sa.Column("item_name", sa.Text, nullable=False),
    sa.Column("qty", sa.Integer, nullable=False),
    sa.Column("sale_price_cents", sa.BigInteger, nullable=False),
    sa.Column("ebay_fees_cents", sa.BigInteger),
    sa.Column("amazon_price_cents", sa.BigInteger),
    sa.Column("amazon_tax_cents", sa.BigInteger),
    sa.Column("amazon_shipping_cents", sa.BigInteger),
    sa.Column("amazon_order_id", sa.String(60)),
    sa.Column("status", sa.String(40), nullable=False),
    sa.Column("return_label_cost_cents", sa.BigInteger),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("deleted_at", Moment),
)  # fmt: skip


def _remarks(name: str) -> sa.Table:
    return sa.Table(
        name, METADATA,
        sa.Column("id", Uuid, primary_key=True),
        sa.Column("record_id", Uuid, sa.ForeignKey("bookkeeping_records.id"), nullable=False, unique=True),
        sa.Column("content", sa.Text, nullable=False),
    )  # fmt: skip


def _readers(name: str) -> sa.Table:
    return sa.Table(
        name, METADATA,
        sa.Column("user_id", sa.String(255), primary_key=True),
        sa.Column("account_id", Uuid, sa.ForeignKey("accounts.id"), primary_key=True),
    )  # fmt: skip


ORDER_REMARKS, SERVICE_REMARKS = _remarks("order_remarks"), _remarks("service_remarks")
ORDER_REMARK_READERS = _readers("order_remark_readers")
SERVICE_REMARK_READERS = _readers("service_remark_readers")

SELLERS = sa.Table(
    "collection_sellers", METADATA,
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("normalized_name", sa.Text, nullable=False),
    sa.Column("platform", sa.String(40), nullable=False),
    sa.Column("platform_id", sa.String(80)),
    sa.Column("times_seen", sa.Integer, nullable=False),
    sa.Column("feedback_percent", sa.Numeric(5, 2)),
    sa.Column("feedback_count", sa.BigInteger),
    sa.Column("flagged", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("deleted_at", Moment),
)  # fmt: skip

SHOP, EMPTY, ODD = (uuid_of("account", name) for name in ("shop", "empty", "hostile"))
"""Ids of the accounts; the last one exists only in tests."""

STATUSES = ("SUCCESSFUL", "RETURN_LABEL_PROVIDED", "RETURN_CLOSED", "REFUND_NO_RETURN")
_ITEMS = (
    ("Stainless steel water bottle 750 ml", 2_495), ("Desk lamp with clamp, warm white", 4_290),
    ("USB-C cable 2 m (pack of 3)", 1_699), ("Kids' bicycle helmet, size S", 3_450),
    ("Espresso cups, set of 6", 3_999), ("Garden hose 25 m", 5_490), ("Cast iron skillet 28 cm", 4_750),
    ("Wool blanket 130 × 180 cm", 7_900), ("Board game, 2 to 4 players", 3_295), ("Hiking backpack 35 l", 11_900),
    ("Wireless keyboard, compact", 5_990), ("Picture frame A3, oak", 2_850), ("Electric kettle 1.7 l", 4_495),
    ("Yoga mat 6 mm", 2_990), ("Bluetooth speaker, waterproof", 8_950), ("Pruning shears", 2_395),
)  # fmt: skip
"""Names and usual prices in cents."""
_ORDER_REMARKS = (
    "Buyer asked for a gift receipt.", "Second parcel of the same order.", "Shipped to a parcel locker.",
    "Address corrected before shipping.", "Replacement for a lost parcel.",
)  # fmt: skip
_SERVICE_REMARKS = (
    "Return label sent.", "Customer called about the delivery date; tracking link sent.",
    "Refund approved by the shop owner.", "Customer keeps the item after a partial refund.",
)  # fmt: skip
_SELLERS = (
    "Alder & Finch", "Attic Treasures", "Bluebird Books", "Brightside Home", "Camden Vinyl", "Cedar Lane Toys",
    "Coastline Outdoor", "Copper Kettle", "Daylight Cameras", "Eastgate Electronics", "Fern Hill Garden",
    "Greenline Cycles", "Harbor Lights Antiques", "Ironwood Tools", "Juniper Crafts", "Kingfisher Angling",
    "Larkspur Linens", "Maple Street Music", "Northwind Sports", "Old Mill Kitchenware", "Orchard Pets",
    "Paper Boat Stationery", "Quarry Stone Jewelry", "Redwood Furniture", "Saddleback Leather", "Silver Birch Lamps",
    "Sunday Market Finds", "Tidewater Surf", "Union Square Watches", "Valley View Ceramics", "Willow Baby",
    "Yardley Hardware",
)  # fmt: skip
_NEW_YEAR = datetime(2026, 1, 2, 14, 5, tzinfo=UTC)
# Around both clock changes in New York, and two moments only a microsecond apart.
_MOMENTS = (
    datetime(2026, 3, 8, 6, 59, 59, 999999, UTC), datetime(2026, 3, 8, 7, 0, tzinfo=UTC),
    datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 1, 6, 30, tzinfo=UTC),
    datetime(2026, 11, 1, 6, 30, 0, 1, UTC),
)  # fmt: skip


def fill(engine: sa.Engine, odd_texts: Sequence[str] = ()) -> None:
    """Recreate and fill the tables.

    Args:
        odd_texts: Texts for records and remarks of one more account, which also gets extreme amounts, and for
            more sellers.
    """
    chance = random.Random(4)
    records = [_record(chance, SHOP, i, *_ITEMS[chance.randrange(len(_ITEMS))]) for i in range(160)]
    order_remarks = [
        _remark("order", r["id"], _ORDER_REMARKS[i % len(_ORDER_REMARKS)])
        for i, r in enumerate(records)
        if i % 3 == 0
    ]
    service_remarks = [
        _remark("service", r["id"], _SERVICE_REMARKS[i % len(_SERVICE_REMARKS)])
        for i, r in enumerate(records)
        if i % 5 == 0
    ]
    accounts = [
        {"id": SHOP, "account_code": "SHOP-1", "name": "Corner Shop"},
        {"id": EMPTY, "account_code": "SHOP-2", "name": "Riverside Outlet (opened today)"},
    ]
    if odd_texts:
        odd = [_record(chance, ODD, i, text, 4_000) for i, text in enumerate([*odd_texts, *odd_texts])]
        odd += _extremes()
        order_remarks += [
            _remark("order", r["id"], odd_texts[i % len(odd_texts)]) for i, r in enumerate(odd) if i % 3
        ]
        service_remarks += [
            _remark("service", r["id"], "Label sent. " * (1 + 40 * i))
            for i, r in enumerate(odd)
            if i % 5 == 0
        ]
        accounts.append({"id": ODD, "account_code": "ODD-3", "name": odd_texts[0]})
        records += odd
    refill(engine, METADATA, {
        ACCOUNTS: accounts,
        RECORDS: records,
        ORDER_REMARKS: order_remarks,
        SERVICE_REMARKS: service_remarks,
        # The owner reads every remark, the buyer only the shop's remarks on orders; others read none.
        ORDER_REMARK_READERS: [
            *({"user_id": "owner", "account_id": account["id"]} for account in accounts),
            {"user_id": "buyer", "account_id": SHOP},
        ],
        SERVICE_REMARK_READERS: [{"user_id": "owner", "account_id": account["id"]} for account in accounts],
        SELLERS: _sellers(chance, odd_texts),
    })  # fmt: skip


def _record(chance: random.Random, account: str, number: int, item: str, price: int) -> Row:
    """Return a record; each of its costs is missing now and then."""
    qty = chance.choices((1, 2, 3, 4), (70, 18, 8, 4))[0]
    sale = qty * price * chance.randrange(90, 111) // 100

    def cents(least: int, most: int, often: float = 0.92) -> int | None:
        """Return a part of the price, in percent."""
        return sale * chance.randrange(least, most) // 100 if chance.random() < often else None

    status = STATUSES[chance.choices(range(4), (70, 12, 12, 6))[0]]
    sold = date(2026, 1, 1) + timedelta(days=chance.randrange(330))
    updated = _MOMENTS[number % 5] if number % 9 == 0 else _NEW_YEAR + timedelta(hours=chance.randrange(7800))
    return {
        "id": uuid_of("record", account, number), "account_id": account,
        "ebay_order_id": f"{number % 30:02d}-{chance.randrange(10**5):05d}-{chance.randrange(10**5):05d}",
        "sale_date": sold, "item_name": item, "qty": qty, "sale_price_cents": sale,
        "ebay_fees_cents": cents(10, 15), "amazon_price_cents": cents(45, 75), "amazon_tax_cents": cents(4, 8, 0.8),
        "amazon_shipping_cents": cents(3, 9, 0.6),
        "amazon_order_id": f"{chance.randrange(100, 999)}-{chance.randrange(10**7):07d}-{number:07d}" if number % 6 else None,
        "status": status, "return_label_cost_cents": cents(8, 16) if status.startswith("RETURN") else None,
        "updated_at": updated, "deleted_at": updated + timedelta(days=1) if number % 17 == 16 else None,
    }  # fmt: skip


def _extremes() -> list[Row]:
    """Return extreme records: nothing paid, everything lost, a price no double holds exactly, a long name."""
    cases: list[tuple[str, int, int | None, int | None, int | None]] = [
        ("RETURN_CLOSED", 5_000, 650, 3_100, 899),
        ("RETURN_CLOSED", 5_000, 650, 3_100, None),
        ("SUCCESSFUL", 0, None, None, 899),
        ("REFUND_NO_RETURN", 0, 100, 4_000, 500),
        ("SUCCESSFUL", 9_007_199_254_740_993, 1, None, None),
    ]
    return [
        {
            "id": uuid_of("extreme", i), "account_id": ODD, "ebay_order_id": f"99-{i:05d}-00000",
            "sale_date": (date(2024, 2, 29), date(2026, 12, 31))[i % 2], "item_name": "Long name " * (1 + 200 * (i == 3)),
            "qty": 1_000, "sale_price_cents": sale, "ebay_fees_cents": fees, "amazon_price_cents": price,
            "amazon_tax_cents": None, "amazon_shipping_cents": None, "amazon_order_id": None, "status": status,
            "return_label_cost_cents": label, "updated_at": _MOMENTS[i], "deleted_at": None,
        }
        for i, (status, sale, fees, price, label) in enumerate(cases)
    ]  # fmt: skip


def _remark(kind: str, record: str, content: str) -> Row:
    return {"id": uuid_of("remark", kind, record), "record_id": record, "content": content}


def _sellers(chance: random.Random, odd_texts: Sequence[str]) -> list[Row]:
    return [
        {
            "id": uuid_of("seller", i), "display_name": name, "normalized_name": name.strip().lower(),
            "platform": ("ebay", "amazon", "other")[i % 3], "platform_id": f"{i:012d}" if i % 4 else None,
            "times_seen": chance.randrange(1, 500),
            "feedback_percent": None if i % 7 == 6 else Decimal(chance.randrange(9_000, 10_001)) / 100,
            "feedback_count": None if i % 7 == 6 else chance.randrange(10**5), "flagged": i % 11 == 10,
            "created_at": _NEW_YEAR + timedelta(days=i // 2), "deleted_at": _NEW_YEAR if i % 23 == 22 else None,
        }
        for i, name in enumerate((*_SELLERS, *odd_texts))
    ]  # fmt: skip
