"""The ledger of requests: `export_jobs`, `scheduled_exports` and their events."""

from export_pipeline.jobs.errors import (
    IdempotencyError,
    IllegalTransitionError,
    LeaseLostError,
    LedgerError,
    LedgerUnavailableError,
    NoLedgerError,
    RefusedError,
    SupersededError,
    UnknownJobError,
)
from export_pipeline.jobs.leases import Lease
from export_pipeline.jobs.ledger import Ledger
from export_pipeline.jobs.migrate import migrate
from export_pipeline.jobs.progress import ThrottledProgress
from export_pipeline.jobs.queries import Reader
from export_pipeline.jobs.records import OPERATOR, Attempt, Event, File, Job, JobState, Place, Viewer
from export_pipeline.jobs.states import EventKind, Status

__all__ = [
    "OPERATOR",
    "Attempt",
    "Event",
    "EventKind",
    "File",
    "IdempotencyError",
    "IllegalTransitionError",
    "Job",
    "JobState",
    "Lease",
    "LeaseLostError",
    "Ledger",
    "LedgerError",
    "LedgerUnavailableError",
    "NoLedgerError",
    "Place",
    "Reader",
    "RefusedError",
    "Status",
    "SupersededError",
    "ThrottledProgress",
    "UnknownJobError",
    "Viewer",
    "migrate",
]
