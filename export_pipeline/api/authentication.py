"""Callers: the key or token of a call, its rights, and the scopes that it may see."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from export_pipeline.api.problems import Problem, not_found
from export_pipeline.api.service import Service, service_of
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.jobs import Viewer
from export_pipeline.jobs.api_keys import authenticate
from export_pipeline.rights import Right

_KEPT_SECONDS = 1.0
"""Seconds for which a valid key is not looked up again. A revoked key works that much longer."""
_MAX_KEPT = 1_000
_KEY = "exp_"

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of `export-pipeline keys create`, or an OIDC token where an issuer is set.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller whose key or token was accepted.

    Attributes:
        id: Identifies the caller in logs, cursors and limits.
        requested_by: Who asks, for the export's row and its guarded columns.
        rights: What the caller may do.
        scopes: Scopes that the caller may see, None among them for exports without one; None for all.
        datasets: Datasets that the caller may see; None for all.
        sees_only_own: True if the caller sees only requests of `requested_by`.
    """

    id: str
    requested_by: str
    rights: frozenset[str]
    scopes: Sequence[str | None] | None
    datasets: Sequence[str] | None
    sees_only_own: bool

    @property
    def viewer(self) -> Viewer:
        """The exports that the caller may see."""
        return Viewer(self.scopes, self.requested_by if self.sees_only_own else None, self.datasets)

    def viewer_in(self, scope: str | None) -> Viewer:
        """Return the viewer of one scope, or of all if it is None.

        Raises:
            Problem: the scope belongs to somebody else.
        """
        if scope is None:
            return self.viewer
        self.check_scope(scope)
        return Viewer([scope], self.viewer.requested_by, self.datasets)

    def check_scope(self, scope: str | None) -> None:
        """Raise Problem, as if the scope did not exist, if the caller may not see it."""
        if self.scopes is not None and scope not in self.scopes:
            raise not_found(f"scope {scope!r}") if scope is not None else not_found("such dataset")

    def visible(self, datasets: Mapping[str, Dataset]) -> dict[str, Dataset]:
        """Return the datasets that the caller may see."""
        return {
            name: dataset
            for name, dataset in datasets.items()
            if (self.datasets is None or name in self.datasets)
            and (dataset.scoped or self.scopes is None or None in self.scopes)
        }


def requires(right: Right) -> Any:
    """Return the FastAPI dependency of a route that needs a right."""

    async def find_caller(
        request: Request, credentials: Annotated[Any, Depends(bearer)], service: Services
    ) -> Caller:
        caller = await _authenticated(request, service, credentials.credentials if credentials else None)
        request.scope["state"]["caller"] = caller.id
        request.app.state.calls.check(caller.id)
        if right not in caller.rights and "admin" not in caller.rights:
            raise Problem(
                403, "forbidden", f"This call needs the right {right}; {caller.id} does not have it.",
                headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
            )  # fmt: skip
        return caller

    return Depends(find_caller)


Services = Annotated[Service, Depends(service_of)]


async def _authenticated(request: Request, service: Service, token: str | None) -> Caller:
    if token is None:
        raise Problem(
            401, "unauthenticated", "Send a key as `Authorization: Bearer exp_…`.",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    now = time.monotonic()
    at, caller = service.callers.get(token, (float("-inf"), None))
    if caller is None or now - at > _KEPT_SECONDS:
        run = service.run if token.startswith(_KEY) else service.run_login
        caller = await run(_caller_of, request.app, service, token)
        if caller is None:
            service.callers.pop(token, None)
            raise Problem(
                401, "unauthenticated", "The key or token is wrong, has expired or was revoked.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )  # fmt: skip
        if len(service.callers) >= _MAX_KEPT:
            service.callers.clear()
        service.callers[token] = (now, caller)
    assert isinstance(caller, Caller)
    return caller


def _caller_of(app: Any, service: Service, token: str) -> Caller | None:
    if not token.startswith(_KEY):
        caller: Caller | None = app.state.tokens.caller_of(token) if app.state.tokens is not None else None
        return caller
    key = authenticate(service.engine, token)
    if key is None:
        return None
    return Caller(
        id=f"key:{key.id}",
        requested_by=key.acts_for or f"key:{key.name}",
        rights=frozenset(key.rights),
        scopes=None if key.scopes is None else tuple(key.scopes),
        datasets=None if key.datasets is None else tuple(key.datasets),
        sees_only_own=key.acts_for is not None,
    )


Reader = Annotated[Caller, requires("exports:read")]
Writer = Annotated[Caller, requires("exports:write")]
LinkMaker = Annotated[Caller, requires("links:create")]
ScheduleReader = Annotated[Caller, requires("schedules:read")]
ScheduleWriter = Annotated[Caller, requires("schedules:write")]
WebhookReader = Annotated[Caller, requires("webhooks:read")]
WebhookWriter = Annotated[Caller, requires("webhooks:write")]
MetricsReader = Annotated[Caller, requires("metrics:read")]
