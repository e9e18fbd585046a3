"""The orders that benchmarks export: 20 columns of every kind, the same in every run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CACHE = Path("/tmp/export-pipeline-benchmark")

TABLE = """
CREATE TABLE orders (
    id bigint PRIMARY KEY, order_uuid uuid, customer text, email text, amount_cents bigint,
    unit_price numeric(12,4), tax numeric(12,4), weight double precision, score double precision,
    paid boolean, gift boolean, ordered_on date, created_at timestamptz, updated_at timestamptz,
    comment text, status text, country char(2), attributes json, notes text, sku text)
"""

# h is a hash of the row's number: everything follows from it, so that every run has the same rows.
_ROWS = """
INSERT INTO orders
SELECT i, md5(i::text)::uuid,
    CASE WHEN h % 50 = 0 THEN (ARRAY['=', '+', '-', '@', E'\\t'])[1 + h % 5] ELSE '' END
        || (ARRAY['Zoë Müller', 'José García', 'Anna Kowalska', '王小明', 'Ольга Иванова', 'John Smith',
                  'Mary O''Brien', 'Łukasz Żak'])[1 + h % 8] || ' ' || h % 99991,
    'user' || h % 500000 || '@example.org', h % 10000000 - 50000,
    (h % 99999999) / 10000.0, (h % 999999) / 10000.0 - 5,
    (h % 1000003) / 977.0::double precision, sqrt((h % 10007)::double precision), h % 3 = 0, h % 7 = 0,
    date '2015-01-01' + (h % 4000)::int,
    timestamptz '2015-01-01 00:00:00+00' + h % 340000000 * interval '1 s',
    timestamptz '2016-01-01 00:00:00+00' + h % 330000000 * interval '1001001 us',
    CASE WHEN h % 10 < 6 THEN NULL ELSE CASE WHEN h % 70 = 7 THEN '=SUM(A1)' ELSE '' END
        || 'called back, wants delivery before ' || h % 24 || ' o''clock' END,
    (ARRAY['new', 'paid', 'shipped', 'delivered', 'returned'])[1 + h % 5],
    (ARRAY['DE', 'FR', 'US', 'PL', 'CN', 'BR'])[1 + h % 6],
    json_build_object('channel', (ARRAY['web', 'shop', 'phone'])[1 + h % 3], 'items', h % 9,
        'ratio', (h % 1000) / 1000.0, 'tags', (ARRAY['a', 'b,c', 'd "e"'])[1 + h % 3]),
    CASE h % 11 WHEN 0 THEN E'first line\\nsecond line, with a comma' WHEN 1 THEN 'said "yes", then left'
        WHEN 2 THEN '-10 % as agreed' ELSE 'leave at the door of number ' || h % 300 || ' please' END,
    (CASE WHEN h % 97 = 0 THEN '-' ELSE '' END) || 'SKU-' || lpad((h % 10000000)::text, 7, '0')
FROM (SELECT i, abs(hashint8extended(i, 42)) AS h FROM generate_series(1::bigint, {rows}::bigint) i) numbered
"""


@contextlib.contextmanager
def database(sizes: list[int]) -> Iterator[dict[int, str]]:
    """A PostgreSQL of our own with a database of orders for each size: their SQLAlchemy URLs by size.

    Rows are generated once and then kept as PostgreSQL's binary COPY in `CACHE`.
    """
    from export_pipeline_tests.services.postgres import postgres_server

    with postgres_server() as server, contextlib.ExitStack() as stack:
        urls = {}
        for size in sizes:
            urls[size] = stack.enter_context(server.database())
            with contextlib.closing(server.connect(urls[size].rpartition("/")[2])) as connection:
                _fill(connection, size)
        yield urls


def _fill(connection: Any, rows: int) -> None:
    file = CACHE / f"orders-{rows}.copy"
    with connection.cursor() as cursor:
        cursor.execute(TABLE)
        if file.exists():
            with file.open("rb") as stored:
                cursor.copy_expert("COPY orders FROM STDIN (FORMAT binary)", stored)
        else:
            cursor.execute(_ROWS.format(rows=rows))
            CACHE.mkdir(exist_ok=True)
            partial = file.with_suffix(".part")
            with partial.open("wb") as out:
                cursor.copy_expert("COPY (SELECT * FROM orders ORDER BY id) TO STDOUT (FORMAT binary)", out)
            partial.replace(file)
        cursor.execute("VACUUM ANALYZE orders")
