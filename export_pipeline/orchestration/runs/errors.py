"""Translate errors into one sentence with cause and cure, and retry transient errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from export_pipeline.core.layout import LayoutError
from export_pipeline.datasets.options import OptionError
from export_pipeline.datasets.requests import RequestError
from export_pipeline.expressions.types import ComputeError
from export_pipeline.formats.base import RenderError
from export_pipeline.jobs import LedgerError
from export_pipeline.orchestration.partitions import PartitionError
from export_pipeline.orchestration.runs.outages import pause, wait_until_available
from export_pipeline.orchestration.runs.staging import StagingError
from export_pipeline.redaction import redacted_errors
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError
from export_pipeline.store import StoreError, StoreUnavailableError

MAX_RETRIES = 4
FIRST_WAIT_SECONDS = 2.0

_PERMANENT = (
    ComputeError, LayoutError, LedgerError, OptionError, PartitionError, RenderError, RequestError,
    SourceError, StagingError, StoreError,
)  # fmt: skip


@contextmanager
def translate_errors(earlier_tries: int, log: logging.Logger) -> Iterator[None]:
    """Translate the errors of an export into a Failure or a retry of Dagster.

    Dagster's own RetryPolicy would retry every exception, even a wrong password or a canceled run, so the
    decision is made here. The wait happens here too: the step keeps what it holds, and a canceled job ends
    the wait. Dagster's own waits cannot be interrupted.

    Args:
        earlier_tries: Number of earlier tries of this step. The wait grows with it.
        log: The run's log, which gets the reason of the wait.

    Raises:
        dagster.RetryRequested: the source or the store was unavailable and is available again. Its cause is
            the Failure that is shown when no tries are left.
        dagster.Failure: it was unavailable for too long, or another known error occurred for which a retry
            would not help.
    """
    with redacted_errors(), _translated(earlier_tries, log):
        yield


@contextmanager
def _translated(earlier_tries: int, log: logging.Logger) -> Iterator[None]:
    try:
        yield
    except (SourceUnavailableError, StoreUnavailableError) as error:
        _forget_cause(error)
        failure = dg.Failure(str(error), allow_retries=False)
        failure.__cause__ = error
        if earlier_tries < MAX_RETRIES:
            pause(FIRST_WAIT_SECONDS * 3**earlier_tries, str(error), log)
            try:
                wait_until_available(error, log)
            except (SourceUnavailableError, StoreUnavailableError):
                raise failure from error
        raise dg.RetryRequested(MAX_RETRIES) from failure
    except _PERMANENT as error:
        _forget_cause(error)
        raise dg.Failure(str(error), allow_retries=False) from error
    except OSError as error:
        reason = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
        raise dg.Failure(
            f"Cannot write to the staging folder: {reason}. Free some space there, or let EXPORT_STAGING_URL "
            "name another folder that this user may write to.",
            allow_retries=False,
        ) from error


def _forget_cause(error: BaseException) -> None:
    """Remove what led to an error, as Dagster would keep it, and it may have a query or values of rows.

    The error's own message has the reason.
    """
    error.__cause__ = error.__context__ = None
