"""Retries during outages of the ledger, the source or the store, so that no finished work is lost."""

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

from export_pipeline.configured_store import open_configured_store
from export_pipeline.core.messages import sentence
from export_pipeline.jobs import LedgerUnavailableError
from export_pipeline.orchestration.resources import source_resource
from export_pipeline.settings import load_settings
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError
from export_pipeline.store import StoreError, StoreUnavailableError

Answer = TypeVar("Answer")

FIRST_WAIT_SECONDS = 1.0
MAX_WAIT_SECONDS = 30.0

_UNAVAILABLE = (LedgerUnavailableError, SourceUnavailableError, StoreUnavailableError)


def retry_until_available(call: Callable[[], Answer], log: logging.Logger) -> Answer:
    """Retry `call` until its service is available, and return its result.

    The backoff grows to 30 s, with jitter so that runs do not retry all at once. Each wait is logged.
    A signal ends this at once, even while `call` waits for the service.

    Args:
        call: Must be safe to repeat after a failure, even if it succeeded and only its response was lost.
        log: The run's log.

    Raises:
        LedgerUnavailableError, SourceUnavailableError, StoreUnavailableError: the service was unavailable
            for EXPORT_OUTAGE_SECONDS.
    """
    until = time.monotonic() + load_settings().outage_seconds
    for tries in itertools.count():
        try:
            return run_in_thread(call)
        except _UNAVAILABLE as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            wait = min(FIRST_WAIT_SECONDS * 2**tries, MAX_WAIT_SECONDS) * random.uniform(0.5, 1)
            pause(min(wait, left), str(error), log)
    raise AssertionError("counting has no end")


def wait_until_available(error: SourceUnavailableError | StoreUnavailableError, log: logging.Logger) -> None:
    """Wait until the source or the store that raised this error is available again.

    Raises:
        SourceUnavailableError, StoreUnavailableError: it was unavailable for EXPORT_OUTAGE_SECONDS.
    """
    check = _check_source if isinstance(error, SourceUnavailableError) else _check_store
    try:
        retry_until_available(check, log)
    except _UNAVAILABLE:
        raise
    except (SourceError, StoreError):
        pass  # it is available; the step gets the more precise error


def pause(seconds: float, why: str, log: logging.Logger) -> None:
    """Log the reason, and wait."""
    with suppress(Exception):  # Dagster's database may be unavailable too
        log.warning(f"{sentence(why)} Waiting for it; the next try is in {seconds:.1f} s.")
    time.sleep(seconds)


def _check_source() -> None:
    with source_resource(load_settings()).snapshot():
        pass


def _check_store() -> None:
    open_configured_store(load_settings()).check()


def run_in_thread(call: Callable[[], Answer]) -> Answer:
    """Make a call in another thread, as a waiting database driver would delay signals."""
    answer: Future[Answer] = Future()

    def make() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=make, name="call", daemon=True).start()
    return answer.result()
