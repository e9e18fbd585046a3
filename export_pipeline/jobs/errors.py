"""What can go wrong with the ledger, in one line each."""

from __future__ import annotations

from export_pipeline.jobs.states import ENDED, NEXT, Status
from export_pipeline.redaction import RedactedError


class LedgerError(RedactedError):
    """The ledger cannot do what was asked. The message says why and what to do."""


class LedgerUnavailableError(LedgerError):
    """The ledger's database cannot be reached or is locked now; trying again later may help."""


class UnknownJobError(LedgerError):
    """There is no such job, or none that the asker may see: the two are not told apart."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no export job {job_id}.")


class RefusedError(LedgerError):
    """A job is not in a state in which this can be done to it.

    Attributes:
        status: The state it is in.
    """

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class IllegalMoveError(RefusedError):
    """The job's state does not allow the new one."""

    def __init__(self, job_id: str, status: Status, wanted: Status) -> None:
        super().__init__(f"Export job {job_id} is {status}{_why_not(status, wanted)}.", status)


class SupersededError(RefusedError):
    """The attempt is no longer the job's: there is a newer one, or another run has taken it over."""


class LeaseLostError(RefusedError):
    """The process of a run was silent for too long and was taken for dead, or another one does its work."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"Run {run_id} was not heard of for too long and was taken for dead, so this process ends; "
            "its requests are tried again by another one.",
            Status.PROCESSING,
        )


class ScheduleError(LedgerError):
    """A scheduled export is not valid. The message begins with the field that is wrong."""


class UnknownScheduleError(LedgerError):
    """There is no such scheduled export, or none that the asker may see: the two are not told apart."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"There is no scheduled export {schedule_id}.")


def _why_not(status: Status, wanted: Status) -> str:
    """The rest of a sentence that says which state a job is in."""
    if wanted is Status.CANCELED:
        return ": it has ended already, there is nothing to cancel"
    if wanted is Status.PENDING:
        instead = "ask for it anew" if status in ENDED else "wait for it, or cancel it first"
        return f", and only a failed or canceled one can be tried again; {instead}"
    after = " or ".join(sorted(NEXT[status]))
    return f" and cannot become {wanted}; {f'only {after}' if after else 'nothing'} can follow"
