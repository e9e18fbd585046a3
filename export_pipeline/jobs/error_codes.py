"""Error codes of requests that need special treatment. docs/operating.md lists all codes."""

from __future__ import annotations

SCHEDULE_BROKEN = "schedule_broken"
"""Marks a notice that a schedule cannot be run. It is stored as a request, but nobody asked for it."""

SCOPE_DELETED = "scope_deleted"
"""The application has deleted the scope: the request was canceled, or its file is due for removal."""

REQUESTER_ERRORS = frozenset(
    {
        SCHEDULE_BROKEN,  # reported as a problem of the schedule
        "unknown_dataset",
        "unknown_format",
        "no_scope",
        "unknown_scope",
        "invalid_options",
        "invalid_recipients",
    }
)
"""Errors that only the requester can fix."""
