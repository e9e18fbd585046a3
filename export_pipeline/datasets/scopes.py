"""Scopes of datasets: read from the source, and the keys under which Dagster knows them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from export_pipeline.sources.snapshot import Source, SourceError, SourceUnavailableError, open_snapshot

if TYPE_CHECKING:
    from export_pipeline.datasets.dataset import Exportable
    from export_pipeline.jobs import Job

SCOPES_SECONDS = 15.0
"""Timeout of reading a dataset's scopes."""

MAX_KEY_BYTES = 1_000
"""Maximum length of a scope's partition key: indexes of Dagster's database hold at most twice that."""

_REFUSED = re.compile(r"[%|\x00-\x1f\x7f-\x9f\u2028\u2029]|\.(?=\.\.)")
"""Characters that Dagster rejects in partition keys, its range separator (`...`), and the escape (`%`)."""


def scope_key(scope: str) -> str:
    """Return the partition key of a scope: the scope, with characters that Dagster rejects escaped as `%XX`.

    Raises:
        ValueError: it is empty or too long. The message continues a sentence that begins with the scope.
    """
    key = _REFUSED.sub(lambda found: f"%{ord(found[0]):02X}" if found[0] == "." else quote(found[0]), scope)
    if not 0 < (size := len(key.encode())) <= MAX_KEY_BYTES:
        raise ValueError(
            f"takes {size:,} bytes as a partition of Dagster, and 1 to {MAX_KEY_BYTES:,} can be used"
        )
    return key


def read_scopes(
    url: str, source: Source, spec: Mapping[str, Any], *, statement_timeout: float = 0
) -> dict[str, str]:
    """Read the scopes of a dataset, as names by id, within `SCOPES_SECONDS`.

    Args:
        url: SQLAlchemy URL of the application's database.
        source: The dataset's source.
        spec: The dataset's description for its source.

    Raises:
        SourceUnavailableError: the database is unavailable, or takes too long.
        SourceError: the tables differ from their declaration.
    """
    limit = min(statement_timeout or SCOPES_SECONDS, SCOPES_SECONDS)
    begun = time.monotonic()
    try:
        with open_snapshot(url, statement_timeout=limit) as snapshot:
            return source.scopes(snapshot, spec)
    except SourceError as error:
        if time.monotonic() - begun < limit:
            raise
        raise SourceUnavailableError(
            f"The list of scopes could not be read within {limit:g} s; see whether its table is locked "
            f"or lacks an index. {error}"
        ) from error


class ScopeReader(Protocol):
    """Reads the scopes of a dataset, as `read_scopes` does."""

    def scopes(self, source: Source, spec: Mapping[str, Any]) -> Mapping[str, str]: ...


class Scopes:
    """The scopes of datasets, each read once."""

    def __init__(self, source: ScopeReader, datasets: Mapping[str, Exportable]) -> None:
        self._source, self._datasets = source, datasets
        self._known: dict[str, Mapping[str, str]] = {}

    def read(self, job: Job) -> None:
        """Read the scopes of a job's dataset if it has scopes, outside the time limit of the job's check.

        Raises:
            SourceError: they cannot be read.
        """
        if (dataset := self._datasets.get(job.dataset)) is not None and dataset.scoped:
            self.of(job.dataset)

    def of(self, dataset: str) -> Mapping[str, str]:
        """Return names by id. The first call for a dataset reads its source and may raise SourceError."""
        if dataset not in self._known:
            there = self._datasets[dataset]
            self._known[dataset] = self._source.scopes(there.source, there.spec)
        return self._known[dataset]
