import threading
import time
from collections.abc import Iterator

import pytest

from export_pipeline.model.streams import merged, prefetched


def test_items_of_all_sources_arrive_each_in_its_order() -> None:
    found = list(merged([range(100), range(100, 300), []]))
    assert [n for n in found if n < 100] == list(range(100))
    assert [n for n in found if n >= 100] == list(range(100, 300))
    assert list(merged([])) == []


def test_sources_are_read_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def waits(item: int) -> Iterator[int]:
        meeting.wait()
        yield item

    assert sorted(merged([waits(1), waits(2)])) == [1, 2]


def test_the_first_error_ends_the_other_sources() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    def breaks() -> Iterator[int]:
        yield 2
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(merged([endless(), breaks()]))
    assert closed.is_set()


def test_a_source_is_not_read_further_ahead_than_allowed() -> None:
    taken = []

    def source() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    items = prefetched(source(), depth=3)
    assert next(items) == 0
    time.sleep(0.3)
    assert len(taken) <= 1 + 3 + 1  # taken by us, waiting, and the one that finds no room
    items.close()  # type: ignore[attr-defined]
    assert len(taken) <= 6
