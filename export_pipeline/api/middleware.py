"""Middleware around all routes: a request id, size limits, one log line, safe headers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export_pipeline.api.problems import Problem, answer
from export_pipeline.redaction import hide_credentials

MAX_BODY_BYTES = 400_000  # the ledger takes at most 500,000 for each part of a request
BODY_SECONDS = 30.0
_MAX_TARGET_BYTES = 8 << 10
_MAX_HEADER_BYTES = 16 << 10
_SINGLE_HEADERS = (
    b"authorization",
    b"idempotency-key",
    b"content-type",
    b"range",
    b"if-range",
    b"last-event-id",
)
"""Headers of which a proxy may read another one than the service, if there are two."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_TOKEN_PATH = re.compile(r"^/(d|unsubscribe)/[^/]+")
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
}

_logger = logging.getLogger("export_pipeline.api.calls")


class CallMiddleware:
    """Middleware around all routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                known = {name.lower() for name, _ in message["headers"]}
                more = {**_HEADERS, b"x-request-id": request_id.encode()}
                if not scope["path"].startswith("/d/"):
                    more[b"cache-control"] = b"no-store"
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in more.items() if name not in known),
                ]
            await send(message)

        try:
            if problem := _problem_of(scope):
                await answer(Request(scope), problem)(scope, receive, send_with_headers)
            else:
                await self._app(scope, _Bounded(scope, receive), send_with_headers)
        finally:
            _log(scope, status, time.monotonic() - begun, state)


def _problem_of(scope: Scope) -> Problem | None:
    """Return the answer for a call whose address or headers are too large or ambiguous."""
    names = [name for name, _ in scope["headers"]]
    if twice := [name.decode() for name in _SINGLE_HEADERS if names.count(name) > 1]:
        return Problem(400, "invalid_request", f"The header {twice[0]} is given twice; give it once.")
    if {b"transfer-encoding", b"content-length"} <= {*names}:  # a proxy may see another end (RFC 9112, 6.1)
        message = "Send either Content-Length or Transfer-Encoding."
        return Problem(400, "invalid_request", message, headers={"Connection": "close"})
    if len(scope["raw_path"]) + len(scope["query_string"]) > _MAX_TARGET_BYTES:
        return Problem(414, "too_large", "The URL is longer than 8 KiB; shorten it, or send a body.")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > _MAX_HEADER_BYTES:
        return Problem(431, "too_large", "The headers have more than 16 KiB; send fewer.")
    return None


class _Bounded:
    """Receives a body of bounded size, in bounded time."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive, self._left = receive, MAX_BODY_BYTES
        self._until = time.monotonic() + BODY_SECONDS
        self._more = True
        length = dict(scope["headers"]).get(b"content-length", b"0")
        self._announced = int(length) if length.isdigit() else 0

    async def __call__(self) -> Message:
        if not self._more:  # only to learn that the client has gone
            return await self._receive()
        if self._announced > MAX_BODY_BYTES:
            raise HTTPException(413, "The body has more than 400,000 bytes; request less")
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, "The body did not arrive within 30 seconds") from None
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self._more = message.get("more_body", False)
            if self._left < 0:
                raise HTTPException(413, "The body has more than 400,000 bytes; request less")
        return message


def _log(scope: Scope, status: int, seconds: float, state: dict[str, Any]) -> None:
    """Write one line for a call. Links' tokens and keys are not in it."""
    path = _TOKEN_PATH.sub(r"/\1/***", scope["path"])
    if path in ("/healthz", "/readyz") and status == 200:
        return
    line = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "request_id": state["request_id"],
        "method": scope["method"],
        "path": path,
        "status": status,
        "ms": round(seconds * 1000),
        "caller": state.get("caller"),
        "client": (scope.get("client") or (None,))[0],
    }
    hands_out = "audit" in state or path.endswith(("/file", "/manifest", "/d/***"))
    if status < 400 and (hands_out or scope["method"] not in ("GET", "HEAD")):
        line["audit"] = state.get("audit", True)
    _logger.info("%s", hide_credentials(json.dumps(line, ensure_ascii=False)))
