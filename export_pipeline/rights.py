"""Rights of callers of the HTTP service. `api/authentication.py` enforces them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

Right = Literal[
    "exports:read",
    "exports:write",
    "links:create",
    "schedules:read",
    "schedules:write",
    "webhooks:read",
    "webhooks:write",
    "metrics:read",
    "admin",
]
"""The rights of a caller. `admin` includes all others."""
RIGHTS: Sequence[Right] = get_args(Right)
