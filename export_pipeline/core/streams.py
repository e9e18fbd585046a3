"""Concurrent processing of batches: reading, computing and writing overlap, and memory stays bounded.

Arrow, numpy, compression and database drivers release the interpreter lock (GIL) while they work, so threads
are enough.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from typing import TypeVar

from export_pipeline.core.processors import usable_processors

T = TypeVar("T")
R = TypeVar("R")

_DEPTH = 2
WORKERS = min(4, usable_processors())


class AbandonedError(Exception):
    """Raised in the threads of sources only, when the consumer needs no more items."""


_thread = threading.local()  # of a source: `abandoned`, an event set when no more items are needed


def prefetch(
    items: Iterable[T], depth: int = _DEPTH, *, interrupt: Callable[[], None] | None = None
) -> Iterator[T]:
    """Yield the items, read by a thread that is at most `depth` items ahead; see `merge`.

    An error of the source is raised here, after the items before it.
    """
    return merge([items], depth, interrupt=interrupt)


def merge(
    sources: Sequence[Iterable[T]], depth: int = _DEPTH, *, interrupt: Callable[[], None] | None = None
) -> Iterator[T]:
    """Yield the items of all sources as they arrive.

    Each source is read in its own thread, at most `depth` items ahead.

    The consumer's thread can be interrupted at any time, even if a source is blocked. The first error
    stops all sources. If the consumer stops early, sources that are themselves `merge` stop too. All sources
    are closed in their own threads before this returns.

    Args:
        sources: Iterables to read concurrently.
        depth: Number of items that may wait to be taken.
        interrupt: Unblocks the sources. Called if an error or an interruption ends the loop, not if the
            consumer has enough items and closes it.
    """
    abandoned: threading.Event | None = getattr(_thread, "abandoned", None)
    ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(entry, timeout=0.1)
                return

    def get() -> tuple[bool, T | BaseException | None]:
        if abandoned is None:
            return ready.get()
        while not abandoned.is_set():
            with suppress(queue.Empty):
                return ready.get(timeout=0.1)
        raise AbandonedError

    def take(items: Iterable[T]) -> None:
        _thread.abandoned = stopped
        source = iter(items)
        try:
            for item in source:
                put((True, item))
                if stopped.is_set():
                    break
            put((False, None))
        except BaseException as error:  # whatever it is, the consumer must raise it
            put((False, error))
        finally:
            close = getattr(source, "close", None)
            if close:
                close()

    readers = [threading.Thread(target=take, args=(one,), name="prefetch", daemon=True) for one in sources]
    for reader in readers:
        reader.start()
    reading, enough = len(readers), False
    try:
        while reading:
            more, item = get()
            if more:
                yield item  # type: ignore[misc]
            elif isinstance(item, BaseException):
                raise item
            else:
                reading -= 1
    except GeneratorExit:
        enough = abandoned is None or not abandoned.is_set()
        raise
    finally:
        stopped.set()
        if interrupt and reading and not enough:
            interrupt()
        for reader in readers:
            reader.join()


def map_concurrently(work: Callable[[T], R], items: Iterable[T], workers: int = WORKERS) -> Iterator[R]:
    """Yield `work(item)` for every item, in order, with several calls running concurrently.

    At most `workers` + 1 results wait to be taken. The calls of `work` must not depend on each other.
    """
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) < 2:  # nothing to run concurrently: most sheets and tables are small
        yield from map(work, first)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="render") as pool:
        try:
            for item in chain(first, items):
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
