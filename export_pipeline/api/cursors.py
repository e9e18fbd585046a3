"""Cursors of lists: the place of the last row, signed for one caller and one list."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime

from export_pipeline.api.problems import Problem
from export_pipeline.jobs import Place

_SIGNATURE = 16


def write_cursor(secret: bytes, place: Place, *about: object) -> str:
    """Return a cursor for the rows after a place.

    Args:
        about: Everything that the next page must have in common with this one: the caller and the filters.
    """
    data = f"{place.created_at.isoformat()} {place.id}".encode()
    return base64.urlsafe_b64encode(_sign(secret, data, about) + data).decode().rstrip("=")


def read_cursor(secret: bytes, cursor: str, *about: object) -> Place:
    """Return the place of a cursor.

    Raises:
        Problem: the cursor was changed, or belongs to another caller or list.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    signature, data = raw[:_SIGNATURE], raw[_SIGNATURE:]
    if not hmac.compare_digest(signature, _sign(secret, data, about)):
        message = "The cursor belongs to another list or caller; begin again without one."
        raise Problem(400, "invalid_cursor", message)
    at, _, job_id = data.decode().partition(" ")
    return Place(datetime.fromisoformat(at), job_id)


def _sign(secret: bytes, data: bytes, about: tuple[object, ...]) -> bytes:
    context = json.dumps([data.decode("latin-1"), *about], default=str).encode()
    return hmac.new(secret, context, hashlib.sha256).digest()[:_SIGNATURE]
