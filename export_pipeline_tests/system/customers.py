"""The sample application with thousands of customers."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime

import sqlalchemy as sa

from export_pipeline.demo import bookkeeping


def fill(url: str, customers: int) -> None:
    """Fill the sample application, and add customers with a sale each."""
    engine = sa.create_engine(url)
    bookkeeping.fill(engine)
    ids = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in range(customers)]
    accounts = [
        {"id": id, "account_code": f"C{number:05}", "name": f"Customer {number:05} of the north"}
        for number, id in enumerate(ids)
    ]
    sales = [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"sale {number}")),
            "account_id": id,
            "ebay_order_id": f"E{number}",
            "sale_date": date(2026, 10, 5),
            "item_name": f"Lamp of {number}",
            "qty": 1,
            "sale_price_cents": 1999,
            "status": "SUCCESSFUL",
            "updated_at": datetime(2026, 10, 5, tzinfo=UTC),
        }
        for number, id in enumerate(ids)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(bookkeeping.ACCOUNTS), accounts)
        connection.execute(sa.insert(bookkeeping.RECORDS), sales)
    engine.dispose()
