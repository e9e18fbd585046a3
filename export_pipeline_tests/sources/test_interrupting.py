"""A read that waits for the database ends at once when its process is told to stop, and so does the query."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.streams import merge
from export_pipeline.sources.snapshot import Snapshot, open_snapshot

SECONDS = 60.0
ENDLESS = "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c)"
WORKING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'export_pipeline' AND datname = current_database()"
)
COLUMN = [Column("x", "X", Kind.INTEGER)]


class StoppedError(BaseException):
    """As Dagster raises in a run that is terminated."""


@pytest.fixture
def stop_soon() -> Iterator[Callable[[], None]]:
    def stop(*_: Any) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    yield timer.start
    timer.cancel()
    signal.signal(signal.SIGUSR1, before)


def endless(snapshot: Snapshot) -> object:
    return snapshot.rows(sa.select(sa.literal_column(ENDLESS)), COLUMN)


def many(snapshot: Snapshot) -> object:
    numbers = sa.func.generate_series(1, 1_000_000_000).column_valued("x")
    return sum(batch.num_rows for batch in snapshot.batches(sa.select(numbers), COLUMN))


def locked(snapshot: Snapshot) -> object:
    return snapshot.table_fields("locked")


def side_by_side(snapshot: Snapshot) -> object:
    readers = [snapshot, *snapshot.sibling_connections(1)]
    select = sa.select(sa.literal_column(ENDLESS))
    return list(merge([(batch for batch in reader.batches(select, COLUMN)) for reader in readers]))


@pytest.mark.parametrize("read", [endless, many, locked, side_by_side])
def test_a_stopped_read_ends_its_queries_in_postgresql(
    postgres_url: str, stop_soon: Callable[[], None], read: Callable[[Snapshot], object]
) -> None:
    engine = sa.create_engine(postgres_url)
    with closing(engine.connect()) as connection:
        connection.execute(sa.text("CREATE TABLE locked (i int)"))
        connection.commit()
        connection.execute(sa.text("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE"))
        begun = time.monotonic()
        with pytest.raises(StoppedError), open_snapshot(postgres_url) as snapshot:
            stop_soon()
            read(snapshot)
        while connection.scalar(sa.text(WORKING)):
            assert time.monotonic() - begun < SECONDS
            connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
            time.sleep(0.1)
    engine.dispose()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_a_stopped_read_ends_its_query_in_sqlite(tmp_path: Path, stop_soon: Callable[[], None]) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    engine.connect().close()
    engine.dispose()
    begun = time.monotonic()
    with pytest.raises(StoppedError), open_snapshot(f"sqlite:///{tmp_path}/app.db") as snapshot:
        stop_soon()
        endless(snapshot)
    assert time.monotonic() - begun < SECONDS


@pytest.mark.slow
def test_a_snapshot_can_be_read_again_after_a_read_that_was_not_finished(postgres_url: str) -> None:
    numbers = sa.func.generate_series(1, 1_000_000).column_valued("x")
    with open_snapshot(postgres_url) as snapshot:
        batches = snapshot.batches(sa.select(numbers), COLUMN)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert snapshot.rows(sa.select(sa.literal(7)), COLUMN) == [{"x": 7}]
