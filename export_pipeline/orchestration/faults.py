"""Faults as people should read them: one sentence that says what to do. Passing ones are tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from export_pipeline.formats.base import RenderError
from export_pipeline.jobs import LedgerError, LedgerUnavailableError
from export_pipeline.model.tabular.expression_types import ComputeError
from export_pipeline.orchestration.launch_config import OptionError
from export_pipeline.orchestration.partitions import PartitionError
from export_pipeline.orchestration.staging import StagingError
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError
from export_pipeline.store import StoreError, StoreUnavailableError

MAX_RETRIES = 2
FIRST_WAIT_SECONDS = 2.0

_PERMANENT = (
    ComputeError, LedgerError, OptionError, PartitionError, RenderError, SourceError, StagingError,
    StoreError,
)  # fmt: skip


@contextmanager
def told(earlier_tries: int) -> Iterator[None]:
    """Turn the faults of an export into what Dagster shows and does.

    Dagster's own RetryPolicy would retry every exception, wrong passwords and a person's Cancel included; so
    the choice is made here.

    Args:
        earlier_tries: How often this step has been tried before; the wait grows with it.

    Raises:
        dagster.RetryRequested: the source or the store cannot be reached now. Its cause is the Failure that
            people see once the tries are used up.
        dagster.Failure: anything else that is known to go wrong; trying again would not help.
    """
    try:
        yield
    except (SourceUnavailableError, StoreUnavailableError, LedgerUnavailableError) as error:
        failure = dg.Failure(str(error))
        failure.__cause__ = error
        raise dg.RetryRequested(MAX_RETRIES, FIRST_WAIT_SECONDS * 3**earlier_tries) from failure
    except _PERMANENT as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except OSError as error:
        reason = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
        raise dg.Failure(
            f"Cannot write to the staging folder: {reason}. Free some space there, or let EXPORT_STAGING_URL "
            "name another folder that this user may write to.",
            allow_retries=False,
        ) from error
