"""Faults as people should read them: one sentence that says what to do. Passing ones are tried again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from export_pipeline.expressions.types import ComputeError
from export_pipeline.formats.base import RenderError
from export_pipeline.jobs import LedgerError
from export_pipeline.orchestration.launch_config import OptionError
from export_pipeline.orchestration.partitions import PartitionError
from export_pipeline.orchestration.runs.retries import pause, wait_for_what_failed
from export_pipeline.orchestration.runs.staging import StagingError
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError
from export_pipeline.store import StoreError, StoreUnavailableError

MAX_RETRIES = 4
FIRST_WAIT_SECONDS = 2.0

_PERMANENT = (
    ComputeError, LedgerError, OptionError, PartitionError, RenderError, SourceError, StagingError,
    StoreError,
)  # fmt: skip


@contextmanager
def told(earlier_tries: int, log: logging.Logger) -> Iterator[None]:
    """Turn the faults of an export into what Dagster shows and does.

    Dagster's own RetryPolicy would retry every exception, wrong passwords and a person's Cancel included; so
    the choice is made here. It waits here too, before anything of the step is given up, and where a canceled
    job ends the waiting; Dagster's own waits end with their time only.

    Args:
        earlier_tries: How often this step has been tried before; the wait grows with it.
        log: The run's, which says what is waited for.

    Raises:
        dagster.RetryRequested: the source or the store was away, and answers again. Its cause is the Failure
            that people see once the tries are used up.
        dagster.Failure: it was away for too long, or anything else that is known to go wrong; trying again
            would not help.
    """
    try:
        yield
    except (SourceUnavailableError, StoreUnavailableError) as error:
        failure = dg.Failure(str(error), allow_retries=False)
        failure.__cause__ = error
        if earlier_tries < MAX_RETRIES:
            pause(FIRST_WAIT_SECONDS * 3**earlier_tries, str(error), log)
            try:
                wait_for_what_failed(error, log)
            except (SourceUnavailableError, StoreUnavailableError):
                raise failure from error
        raise dg.RetryRequested(MAX_RETRIES) from failure
    except _PERMANENT as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except OSError as error:
        reason = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
        raise dg.Failure(
            f"Cannot write to the staging folder: {reason}. Free some space there, or let EXPORT_STAGING_URL "
            "name another folder that this user may write to.",
            allow_retries=False,
        ) from error
