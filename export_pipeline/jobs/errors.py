"""Errors of the ledger, each with a message of one line, and some error codes of requests.

docs/operating.md lists all codes.
"""

from __future__ import annotations

from typing import Final, Literal

from export_pipeline.jobs.states import ENDED, TRANSITIONS, Status
from export_pipeline.redaction import RedactedError

ErrorCode = Literal[
    "check_too_long",
    "export_failed",
    "invalid_options",
    "invalid_recipients",
    "no_recipients",
    "no_scope",
    "not_started",
    "refused",
    "schedule_broken",
    "scope_deleted",
    "source_error",
    "source_unavailable",
    "unknown_dataset",
    "unknown_format",
    "unknown_scope",
    "unknown_window",
    "unusable_scope",
    "worker_lost",
]
"""Codes of failed and refused requests; docs/operating.md explains each."""

SCHEDULE_BROKEN: Final = "schedule_broken"
"""Marks a notice that a schedule cannot be run. It is stored as a request, but nobody asked for it."""

NO_RECIPIENTS: Final = "no_recipients"
"""Marks a notice that a schedule for each scope has made no export of some, as they have no recipients."""

NOTICES: frozenset[ErrorCode] = frozenset({SCHEDULE_BROKEN, NO_RECIPIENTS})
"""Error codes of notices about schedules: there is nothing to retry."""

SCOPE_DELETED: Final = "scope_deleted"
"""The application has deleted the scope: the request was canceled, or its file is due for removal."""

REQUESTER_ERRORS: frozenset[ErrorCode] = frozenset(
    {
        *NOTICES,  # reported as a problem of the schedule
        "unknown_dataset",
        "unknown_format",
        "no_scope",
        "unknown_scope",
        "invalid_options",
        "invalid_recipients",
    }
)
"""Error codes of mistakes that only the requester can fix."""


class LedgerError(RedactedError):
    """Raised when the ledger cannot do something. The message names the cause and the cure."""


class LedgerUnavailableError(LedgerError):
    """Raised when the ledger's database cannot be reached or is locked; a later retry may succeed."""


class NoLedgerError(LedgerError):
    """Raised when the database has no tables of export jobs, or cannot have any."""


class UnknownJobError(LedgerError):
    """Raised when a job does not exist or the viewer may not see it; the message does not tell which."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no export job {job_id}.")


class IdempotencyError(LedgerError):
    """Raised when the same person used an idempotency key in the same scope for another or a deleted request.

    Attributes:
        job_id: Id of the job of the earlier request.
    """

    def __init__(self, key: str, job_id: str, what: str) -> None:
        super().__init__(
            f"The idempotency key {key!r} was used for {what}, export job {job_id}; a new request needs a "
            "new key."
        )
        self.job_id = job_id


class RefusedError(LedgerError):
    """Raised when a job's state does not allow the operation.

    Attributes:
        status: The job's current state.
    """

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class IllegalTransitionError(RefusedError):
    """Raised when a job cannot change from its state to the requested one."""

    def __init__(self, job_id: str, status: Status, target: Status) -> None:
        super().__init__(f"Export job {job_id} is {status}{_why_not(status, target)}.", status)


class SupersededError(RefusedError):
    """Raised when an attempt is no longer current: there is a newer one, or another run has taken over."""


class LeaseLostError(RefusedError):
    """Raised when a run's process missed its renewals and was declared dead, or another holds its lease."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"Run {run_id} missed its heartbeats and was declared dead, so this process ends; "
            "another one tries its requests again.",
            Status.PROCESSING,
        )


class ScheduleError(LedgerError):
    """Raised when a scheduled export is not valid. The message begins with the invalid field."""


class UnknownScheduleError(LedgerError):
    """Raised when a schedule does not exist or the viewer may not see it; the message does not tell which."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"There is no scheduled export {schedule_id}.")


def _why_not(status: Status, target: Status) -> str:
    """Return the end of a sentence that begins with a job's state: why the new state is not allowed."""
    if target is Status.CANCELED:
        return ": it has ended already, there is nothing to cancel"
    if target is Status.PENDING:
        instead = "request it again" if status in ENDED else "wait for it, or cancel it first"
        return f", and only a failed or canceled one can be tried again; {instead}"
    after = " or ".join(sorted(TRANSITIONS[status]))
    return f" and cannot become {target}; {f'only {after}' if after else 'nothing'} can follow"
