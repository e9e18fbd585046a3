"""Scopes of datasets: read from the source, and found by their ids and names."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from export_pipeline.datasets.partition_keys import label_of_key, label_of_name, scope_key, scope_of_key
from export_pipeline.sources.snapshot import (
    Snapshot,
    Source,
    SourceError,
    SourceUnavailableError,
    open_snapshot,
)

if TYPE_CHECKING:
    from export_pipeline.datasets.dataset import Dataset, Exportable
    from export_pipeline.jobs import Job

_T = TypeVar("_T")

SCOPES_SECONDS = 15.0
"""Timeout of reading a dataset's scopes."""


class ScopeNameError(ValueError):
    """Raised when a name is that of several scopes, whose ids the message lists, or of none."""


def find_scope(scopes: Mapping[str, str], given: str) -> str:
    """Return the id of the scope with this id, name, or partition key of Dagster.

    A text that is none of them is returned unchanged, so that the caller's check refuses it.

    Args:
        scopes: Names by id; only those that the caller may see.

    Raises:
        ScopeNameError: several scopes have this name.
    """
    matches = _matches(scopes, given)
    if len(matches) > 1:
        raise _ambiguous(given, matches)
    return matches[0] if matches else given


def find_scope_of_any(
    datasets: Iterable[Dataset],
    read: Callable[[Dataset], Mapping[str, str]],
    given: str,
    seen: Collection[str | None] | None = None,
    *,
    stored: bool,
) -> str:
    """Return the id of the scope with this id or name in any of several datasets.

    A text that none of them knows is returned unchanged: the scope may be gone, its exports still be listed.

    Args:
        read: Returns the scopes of a dataset, names by id.
        seen: Scopes that the caller may see; None for all. Names of others are not looked at.
        stored: The result is stored: a name is refused if scopes cannot be read that may have it too.

    Raises:
        ScopeNameError: the name is that of several scopes, in one dataset or in different ones.
        SourceUnavailableError: scopes cannot be read now, and the text is neither a known id nor, unless the
            result is stored, the name of a scope of another dataset.
    """
    if seen is not None and given in seen:
        return given
    matches: dict[str, str] = {}
    unread: SourceUnavailableError | None = None
    for dataset in datasets:
        if not dataset.scoped:
            continue
        try:
            scopes = read(dataset)
        except SourceUnavailableError as error:
            unread = error
            continue
        except SourceError:  # a dataset of another database
            continue
        if given in scopes and seen is None:
            return given
        if seen is not None:
            scopes = {id: scopes[id] for id in seen if id is not None and id in scopes}
        for id in _matches(scopes, given):
            matches.setdefault(id, f"{id} ({dataset.dataset})")
    if len(matches) > 1:
        raise _ambiguous(given, list(matches.values()))
    if unread is not None and (stored or not matches):
        raise unread
    return next(iter(matches), given)


def _matches(scopes: Mapping[str, str], given: str) -> list[str]:
    """Return the ids of the scopes that may be meant by an id, a name, or both as Dagster shows them."""
    if given in scopes:
        return [given]
    exact = [id for id, name in scopes.items() if name == given]
    id = scope_of_key(given)
    # A partition keeps the first name of its scope; only a long id cannot be meant by accident.
    if (
        not exact
        and id in scopes
        and (len(id) >= _LONG_ID or label_of_key(given) in (None, label_of_name(scopes[id])))
    ):
        return [id]
    if _looks_like_id(given, scopes):
        return []
    folded = _fold(given)
    return exact or [id for id, name in scopes.items() if _fold(name) == folded]


def _ambiguous(given: str, choices: Sequence[str]) -> ScopeNameError:
    listed = ", ".join(choices[:_MAX_LISTED])
    more = f" and {len(choices) - _MAX_LISTED:,} more" if len(choices) > _MAX_LISTED else ""
    return ScopeNameError(
        f"{len(choices):,} scopes are called {given!r}; give one of the ids {listed}{more}."
    )


def look_up_scope(source: ScopeReader, dataset: Dataset, given: str) -> tuple[str, str | None]:
    """Return id and name of the scope with this id or name. The name is None if the dataset hides it.

    Raises:
        ScopeNameError: there is no such scope, or several have this name.
        SourceError: the scopes cannot be read.
    """
    scopes = source.scopes(dataset.source, dataset.spec)
    scope = find_scope(scopes, given)
    if scope not in scopes:
        raise ScopeNameError(
            f"{dataset.dataset} has no scope {given!r}; "
            f"`export-pipeline datasets --scopes {dataset.dataset}` lists them."
        )
    return scope, scopes[scope] if dataset.labels_scopes else None


_MAX_LISTED = 10
_LONG_ID = 16
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _looks_like_id(given: str, scopes: Mapping[str, str]) -> bool:
    """Return whether a text has the form of these ids, as that of a deleted scope; it is no name then."""
    an_id = next(iter(scopes), "")
    if given.isdecimal():
        return an_id.isdecimal()
    return _UUID.fullmatch(given) is not None and _UUID.fullmatch(an_id) is not None


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
    return _read(url, statement_timeout, lambda snapshot: source.scopes(snapshot, spec))


def read_recipients(
    url: str, source: Source, spec: Mapping[str, Any], *, statement_timeout: float = 0
) -> dict[str, list[str]]:
    """Read the mail addresses of each scope of a dataset; see `read_scopes`."""
    read: Callable[[Snapshot, Mapping[str, Any]], dict[str, list[str]]] = source.recipients  # type: ignore[attr-defined]
    return _read(url, statement_timeout, lambda snapshot: read(snapshot, spec))


def names_recipients(dataset: Exportable) -> bool:
    """Return whether a dataset names the recipients of its scopes."""
    return bool((dataset.spec.get("scope") or {}).get("recipients")) and hasattr(dataset.source, "recipients")


def _read(url: str, statement_timeout: float, read: Callable[[Snapshot], _T]) -> _T:
    limit = min(statement_timeout or SCOPES_SECONDS, SCOPES_SECONDS)
    begun = time.monotonic()
    try:
        with open_snapshot(url, statement_timeout=limit) as snapshot:
            return read(snapshot)
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


class RecipientReader(Protocol):
    """Reads the recipients of scopes, as `read_recipients` does."""

    def recipients(self, dataset: Exportable) -> Mapping[str, list[str]]: ...


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

    def key(self, dataset: str, scope: str) -> str:
        """Return the partition key that a scope gets if it has none yet."""
        name = self.of(dataset).get(scope) if self._datasets[dataset].labels_scopes else None
        return scope_key(scope, name)


def _fold(name: str) -> str:
    """Return a name without what is not seen: case, outer blanks, and how accents and blanks are encoded."""
    return unicodedata.normalize("NFKC", name.casefold()).strip()
