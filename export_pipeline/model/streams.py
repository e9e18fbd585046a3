"""Work on batches side by side: what is read, computed and written overlaps, and memory stays bounded.

Arrow, numpy, compression and database drivers let go of the interpreter while they work, so threads are
enough.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_DEPTH = 2
WORKERS = min(4, os.cpu_count() or 1)


def prefetched(items: Iterable[T], depth: int = _DEPTH) -> Iterator[T]:
    """The items, taken from their source by a thread that is at most `depth` items ahead.

    What the source raises is raised here, after the items before it. When the consumer stops early, the
    source is closed in its own thread before this returns.
    """
    return merged([items], depth)


def merged(sources: Sequence[Iterable[T]], depth: int = _DEPTH) -> Iterator[T]:
    """The items of all sources as they come, each source in a thread of its own, at most `depth` items ahead.

    The first error ends all. When the consumer stops early, the sources are closed in their own threads
    before this returns.
    """
    ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(entry, timeout=0.1)
                return

    def take(items: Iterable[T]) -> None:
        source = iter(items)
        try:
            for item in source:
                put((True, item))
                if stopped.is_set():
                    break
            put((False, None))
        except BaseException as error:  # whatever it is, it belongs to the consumer
            put((False, error))
        finally:
            close = getattr(source, "close", None)
            if close:
                close()

    readers = [threading.Thread(target=take, args=(one,), name="prefetch", daemon=True) for one in sources]
    for reader in readers:
        reader.start()
    reading = len(readers)
    try:
        while reading:
            more, item = ready.get()
            if more:
                yield item  # type: ignore[misc]
            elif isinstance(item, BaseException):
                raise item
            else:
                reading -= 1
    finally:
        stopped.set()
        for reader in readers:
            reader.join()


def mapped(work: Callable[[T], R], items: Iterable[T], workers: int = WORKERS) -> Iterator[R]:
    """`work` of every item, in the items' order, a few at a time side by side.

    At most `workers` + 1 results wait to be taken. `work` must not depend on the calls before it.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="render") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
