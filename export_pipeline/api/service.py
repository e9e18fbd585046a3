"""The state that routes share: settings, ledger, store, datasets, and threads for calls that block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from typing import Any, ParamSpec, TypeVar

import anyio
import sqlalchemy as sa
from fastapi import Request

from export_pipeline.api.inline_messages import SourceQuestion
from export_pipeline.api.job_loader import JobLoader
from export_pipeline.configured_store import open_configured_store
from export_pipeline.datasets.dataset import Dataset, Exportable
from export_pipeline.datasets.loading import load_datasets
from export_pipeline.datasets.scopes import find_scope, read_recipients, read_scopes
from export_pipeline.jobs.api_keys import signing_secret
from export_pipeline.jobs.inline import InlineExports
from export_pipeline.settings import Settings
from export_pipeline.store import Store

_THREADS = 8
_SCOPES_SECONDS = 30.0
_SCOPES_LEAST_SECONDS = 1.0

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Threads:
    """Runs blocking calls in a few threads, so that other calls need not wait for them.

    Args:
        count: Threads that run at a time.
    """

    def __init__(self, count: int) -> None:
        self._limiter = anyio.CapacityLimiter(count)

    async def __call__(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Return the result of a call."""
        return await anyio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._limiter)


class Service:
    """The parts of a deployment that the HTTP service uses.

    Attributes:
        settings: The settings of the deployment.
        ledger: The ledger of requests.
        engine: Engine of the ledger's database.
        callers: Callers that were authenticated a moment ago, by token, with the time.
        jobs: Reads jobs, those of several calls with one query.
        downloads: Downloads that were recorded, with the time.
        run: Runs a call that blocks for a moment.
        run_inline: Runs a call that waits for a process that makes an export.
        run_slow: Runs a call that waits for others' servers.
        run_login: Runs a call that may wait for the issuer of tokens.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledger = InlineExports(settings.jobs_url, connections=_THREADS)
        self.engine: sa.Engine = self.ledger.engine
        self.callers: dict[str, tuple[float, Any]] = {}
        self.downloads: dict[tuple[object, ...], float] = {}
        self.run, self.run_inline = Threads(_THREADS), Threads(16)
        self.run_slow, self.run_login = Threads(2), Threads(2)
        self.jobs = JobLoader(lambda ids, viewer: self.run(self.ledger.get_all, ids, viewer))
        self._scopes = _CachedScopes(settings)
        self._loading = threading.Lock()
        self._datasets: Mapping[str, Dataset] | None = None

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """The datasets by name, loaded on first use, which blocks: use it in a thread.

        Raises:
            DefsError: a defs.yaml is invalid.
        """
        with self._loading:
            if self._datasets is None:
                self._datasets = load_datasets()
            return self._datasets

    @property
    def scopes(self) -> _CachedScopes:
        """Reads the scopes of datasets, and keeps them for a moment."""
        return self._scopes

    def scope_id(
        self, dataset: Dataset | None, given: str | None, seen: Collection[Any] | None
    ) -> str | None:
        """Return the id of the scope with this id or name; an unknown text is returned as it is.

        Args:
            seen: Scopes that the caller may see; None for all. Names of others are not looked at.

        Raises:
            ScopeNameError: several scopes have this name.
            SourceError: the scopes cannot be read.
        """
        if given is None or dataset is None or not dataset.scoped or (seen is not None and given in seen):
            return given
        there = self.scopes.of(dataset)
        return find_scope(there if seen is None else {id: there[id] for id in seen if id in there}, given)

    @cached_property
    def store(self) -> Store:
        """The store of export files."""
        return open_configured_store(self.settings)

    @cached_property
    def cursor_secret(self) -> bytes:
        """The secret that signs cursors."""
        return signing_secret(self.engine, "cursors")

    def close(self) -> None:
        """Close the connections."""
        self.ledger.close()


class _CachedScopes:
    """Reads scopes; those of a dataset are kept for half a minute, unless one is missing.

    Attributes:
        ask: Has the application's database read by another process; None reads it in this one.
    """

    ask: Callable[[SourceQuestion], Mapping[str, Any]] | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._lock = threading.Lock()

    def of(self, dataset: Dataset, needed: str | None = None) -> Mapping[str, str]:
        """Return the names of a dataset's scopes by id.

        Args:
            needed: A scope; if it is not among the known ones, they are read again.

        Raises:
            SourceError: they cannot be read.
        """
        with self._lock:
            at, known = self._known.get(dataset.dataset, (float("-inf"), {}))
            age = time.monotonic() - at
            if age > _SCOPES_SECONDS or (
                needed is not None and needed not in known and age > _SCOPES_LEAST_SECONDS
            ):
                known = self._read(read_scopes, dataset)
                self._known[dataset.dataset] = (time.monotonic(), known)
            return known

    def recipients(self, dataset: Exportable) -> Mapping[str, list[str]]:
        """Read the mail addresses of each scope of a dataset.

        Raises:
            SourceError: they cannot be read.
        """
        return self._read(read_recipients, dataset)

    def _read(self, read: Callable[..., dict[str, Any]], dataset: Exportable) -> Mapping[str, Any]:
        if self.ask is not None:
            is_of_recipients = read is read_recipients
            return self.ask(SourceQuestion(dataset.dataset, dataset.spec, recipients=is_of_recipients))
        timeout = self._settings.statement_timeout_seconds
        return read(self._settings.source_url, dataset.source, dataset.spec, statement_timeout=timeout)


async def service_of(request: Request) -> Service:
    """Return the service of a request."""
    service: Service = request.app.state.service
    return service
