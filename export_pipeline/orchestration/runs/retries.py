"""Waiting for a ledger, a source or a store that is away, so that work which is done already is not lost."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from export_pipeline.core.one_line import sentence
from export_pipeline.jobs import LedgerUnavailableError
from export_pipeline.orchestration.resources import source_of, store_of
from export_pipeline.settings import load_settings
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError
from export_pipeline.store import StoreError, StoreUnavailableError

Answer = TypeVar("Answer")

FIRST_WAIT_SECONDS = 1.0
MOST_WAIT_SECONDS = 30.0

_AWAY = (LedgerUnavailableError, SourceUnavailableError, StoreUnavailableError)


def outlive(call: Callable[[], Answer], log: logging.Logger) -> Answer:
    """What `call` gives, as soon as the service that it asks is there.

    Waits grow to half a minute, and differ by chance, so that many runs do not come back at one moment.
    Each is said in the log. A signal ends this at once, also while the service keeps `call` waiting.

    Args:
        call: May be made again whenever it has failed, also where only its answer was lost.
        log: The run's.

    Raises:
        LedgerUnavailableError, SourceUnavailableError, StoreUnavailableError: the service was away for
            EXPORT_OUTAGE_SECONDS.
    """
    until = time.monotonic() + load_settings().outage_seconds
    for tries in itertools.count():
        try:
            return beside(call)
        except _AWAY as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            wait = min(FIRST_WAIT_SECONDS * 2**tries, MOST_WAIT_SECONDS) * random.uniform(0.5, 1)
            pause(min(wait, left), str(error), log)
    raise AssertionError("counting has no end")


def wait_for_what_failed(error: SourceUnavailableError | StoreUnavailableError, log: logging.Logger) -> None:
    """Wait until the source or the store, whichever this error is of, answers again.

    Raises:
        SourceUnavailableError, StoreUnavailableError: it was away for EXPORT_OUTAGE_SECONDS.
    """
    ask = _ask_the_source if isinstance(error, SourceUnavailableError) else _ask_the_store
    try:
        outlive(ask, log)
    except _AWAY:
        raise
    except (SourceError, StoreError):
        pass  # it is back; what it says to the step tells more


def pause(seconds: float, why: str, log: logging.Logger) -> None:
    """Wait, and say why."""
    with suppress(Exception):  # Dagster's database may be away too
        log.warning(f"{sentence(why)} Waiting for it; the next try is in {seconds:.1f} s.")
    time.sleep(seconds)


def _ask_the_source() -> None:
    with source_of(load_settings()).snapshot():
        pass


def _ask_the_store() -> None:
    store_of(load_settings()).open().check()


def beside(call: Callable[[], Answer]) -> Answer:
    """Make a call in another thread: a driver in the middle of its own waiting would hear no signal."""
    answer: Future[Answer] = Future()

    def make() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=make, name="outlive", daemon=True).start()
    return answer.result()
