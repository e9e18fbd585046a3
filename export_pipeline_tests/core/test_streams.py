import queue
import threading
from collections.abc import Iterator

import pytest

from export_pipeline.core.streams import map_concurrently, merge, prefetch


def test_items_of_all_sources_arrive_each_in_its_order() -> None:
    items = list(merge([range(100), range(100, 300), []]))
    assert [n for n in items if n < 100] == list(range(100))
    assert [n for n in items if n >= 100] == list(range(100, 300))
    assert list(merge([])) == []


def test_sources_are_read_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=240)

    def waits(item: int) -> Iterator[int]:
        meeting.wait()
        yield item

    assert sorted(merge([waits(1), waits(2)])) == [1, 2]


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
        list(merge([endless(), breaks()]))
    assert closed.is_set()


def test_a_source_is_not_read_further_ahead_than_allowed() -> None:
    read: queue.Queue[int] = queue.Queue()

    def source() -> Iterator[int]:
        for number in range(100):
            read.put(number)
            yield number

    items = prefetch(source(), depth=3)
    for item in range(5):
        assert next(items) == item
        # Read are those that were taken, the three that wait, and the one that finds no room.
        ahead = 5 if item == 0 else 1
        assert [read.get(timeout=240) for _ in range(ahead)][-1] == item + 4
        assert read.empty()
    items.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_work_is_done_on_every_item_and_its_results_come_in_order(count: int) -> None:
    results = map_concurrently(lambda item: item * item, iter(range(count)))
    assert list(results) == [item * item for item in range(count)]


def test_work_is_done_side_by_side_and_one_item_needs_no_thread() -> None:
    meeting = threading.Barrier(2, timeout=240)
    assert sorted(map_concurrently(lambda _: meeting.wait(), range(2), workers=2)) == [0, 1]
    assert list(map_concurrently(lambda _: threading.current_thread(), [1])) == [threading.current_thread()]


def test_a_failure_comes_in_the_place_of_its_result() -> None:
    results = map_concurrently(lambda item: 1 // item, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
