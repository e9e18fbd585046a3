"""The orders that benchmarks export: 20 columns of every kind, the same in every run."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

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
def database(sizes: list[int], server: str | None = None, *, keep: bool = True) -> Iterator[dict[int, str]]:
    """A database of orders for each size: their SQLAlchemy URLs by size. They are dropped afterwards.

    Rows are generated once and then kept as PostgreSQL's binary COPY in `CACHE`.

    Args:
        keep: False to keep no copy of rows that are generated, which takes 350 bytes a row.
        server: The postgresql:// URL of somebody who may create databases; otherwise a PostgreSQL of our own.
    """
    import psycopg2

    with contextlib.ExitStack() as stack:
        url = sa.make_url(server or stack.enter_context(_own_server()))

        def connect(name: str | None = None) -> Any:
            plain = url.set(drivername="postgresql", database=name or url.database)
            connection = psycopg2.connect(plain.render_as_string(hide_password=False))
            connection.autocommit = True
            return stack.enter_context(contextlib.closing(connection))

        administrator, urls = connect().cursor(), {}
        for size in sizes:
            name = f"benchmark_{secrets.token_hex(6)}"
            administrator.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
            stack.callback(administrator.execute, f"DROP DATABASE {name} WITH (FORCE)")
            _fill(connect(name), size, keep)
            ours = url.set(drivername="postgresql+psycopg2", database=name)
            urls[size] = ours.render_as_string(hide_password=False)
        yield urls


@contextlib.contextmanager
def _own_server() -> Iterator[str]:
    from export_pipeline_tests.services.postgres import postgres_server

    with postgres_server() as server:
        yield server.url()


def _fill(connection: Any, rows: int, keep: bool) -> None:
    file = CACHE / f"orders-{rows}.copy"
    with connection.cursor() as cursor:
        cursor.execute(TABLE)
        if file.exists():
            with file.open("rb") as stored:
                cursor.copy_expert("COPY orders FROM STDIN (FORMAT binary)", stored)
        else:
            cursor.execute(_ROWS.format(rows=rows))
        if keep and not file.exists():
            CACHE.mkdir(exist_ok=True)
            partial = file.with_suffix(".part")
            with partial.open("wb") as out:
                cursor.copy_expert("COPY (SELECT * FROM orders ORDER BY id) TO STDOUT (FORMAT binary)", out)
            partial.replace(file)
        cursor.execute("VACUUM ANALYZE orders")
