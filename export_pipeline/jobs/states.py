"""The states of a job and their transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Status(StrEnum):
    """State of a request."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


TRANSITIONS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.PENDING: frozenset({Status.PROCESSING, Status.FAILED, Status.CANCELED}),
        # Back to pending as a new attempt, after its worker was lost.
        Status.PROCESSING: frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.PENDING}),
        Status.COMPLETED: frozenset({Status.EXPIRED}),
        Status.FAILED: frozenset({Status.PENDING}),  # as a new attempt
        Status.CANCELED: frozenset({Status.PENDING}),  # as a new attempt
        Status.EXPIRED: frozenset(),
    }
)

ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.EXPIRED})
"""States in which no work is pending or in progress."""


def states_before(status: Status) -> frozenset[Status]:
    """Return the states from which a job may change to this one."""
    return frozenset(earlier for earlier, later in TRANSITIONS.items() if status in later)


class EventKind(StrEnum):
    """Kind of an event of a job."""

    REQUESTED = "requested"
    STARTED = "started"
    PROGRESS = "progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    SENT = "sent"
    DOWNLOADED = "downloaded"
    PURGED = "purged"
    HELD = "held"
    RELEASED = "released"
