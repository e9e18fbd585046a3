"""Error codes of requests that are told apart from others. docs/operating.md lists all there are."""

from __future__ import annotations

SCHEDULE_BROKEN = "schedule_broken"
"""Of a request that never was one: the notice that a schedule cannot be run."""

SCOPE_DELETED = "scope_deleted"
"""The application has deleted the scope: the request was ended, or the file is due."""

NOT_THE_OPERATORS = frozenset(
    {
        SCHEDULE_BROKEN,  # which is told as the schedule's own fault
        "unknown_dataset",
        "unknown_format",
        "no_scope",
        "unknown_scope",
        "invalid_options",
        "invalid_recipients",
    }
)
"""What only who asks can mend."""
