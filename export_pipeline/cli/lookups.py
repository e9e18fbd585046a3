"""Helpers of commands about datasets: declarations, scopes and options."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

from export_pipeline.cli.console import UserError
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from export_pipeline.components.dataset import DatasetComponent
    from export_pipeline.datasets.dataset import Dataset


def load_definitions() -> dg.Definitions:
    """Load the code location, with DAGSTER_HOME prepared. Raise UserError if a defs.yaml is invalid."""
    declared()  # reports an invalid defs.yaml in one line, unlike Dagster
    from export_pipeline.orchestration.instance import prepare_home

    prepare_home()
    from export_pipeline.definitions import defs

    return defs()


def checked_key(text: str) -> str:
    """Return a valid key from a typed key, or from one copied with the store's URL as prefix."""
    from export_pipeline.store.keys import check_key

    try:
        return check_key(text)
    except ValueError as error:
        raise UserError(f"{error}; keys look like exports/SCOPE/ID.csv") from None


def declared() -> dict[str, DatasetComponent]:
    """Return the datasets by name. Raise UserError with a line for each error in a defs.yaml."""
    from export_pipeline.components.loading import datasets
    from export_pipeline.datasets.loading import DefsError

    try:
        return datasets()
    except DefsError as error:
        raise UserError(*str(error).splitlines()) from None


def dataset_of(name: str) -> DatasetComponent:
    """Return a dataset by name. Raise UserError with the list of datasets if it is unknown."""
    there = declared()
    if name not in there:
        near = get_close_matches(name, there, 1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise UserError(f"There is no dataset {name!r}; {hint} are {', '.join(there)}.")
    return there[name]


def scopes_of(settings: Settings, dataset: Dataset) -> dict[str, str]:
    """Return a dataset's scopes, as names by id."""

    from export_pipeline.orchestration.resources import source_resource

    with source_resource(settings).snapshot() as snapshot:
        scopes: dict[str, str] = dataset.source.scopes(snapshot, dataset.spec)
    return scopes


def formats_of(dataset: Dataset, text: str) -> list[str]:
    """Parse comma-separated formats. Raise UserError if the dataset lacks one, or one is named twice."""
    from export_pipeline.datasets.requests import format_names

    names = [name.strip() for name in text.split(",")]
    there = format_names(dataset)
    if unknown := ", ".join(repr(name) for name in names if name not in there):
        raise UserError(f"{dataset.dataset} has no format {unknown}; it has {', '.join(there)}.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--format {text}: {twice} is named twice; name each format once.")
    return names


def find_scope(settings: Settings, dataset: Dataset, given: str | None) -> tuple[str | None, str | None]:
    """Return id and name of the scope with this id or name. The name is None if the dataset hides it.

    Raises:
        UserError: it is unknown, ambiguous, missing, or given for a dataset without scopes.
    """
    if not dataset.scoped:
        if given is not None:
            raise UserError(f"{dataset.dataset} has no scopes; leave --scope out.")
        return None, None
    there = scopes_of(settings, dataset)
    known = f"`export-pipeline datasets --scopes {dataset.dataset}` lists the {len(there):,} there are."
    if given is None:
        raise UserError(f"Say whose rows, with --scope; {known}")
    from export_pipeline.datasets.partition_keys import scope_key
    from export_pipeline.datasets.scopes import ScopeNameError
    from export_pipeline.datasets.scopes import find_scope as find

    try:
        scope = find(there, given)
    except ScopeNameError as error:
        raise UserError(str(error)) from None
    if scope not in there:
        raise UserError(f"{dataset.dataset} has no scope {given!r}; {known}")
    try:
        scope_key(scope)
    except ValueError as error:
        raise UserError(f"The scope {scope!r} {error}.") from None
    return scope, there[scope] if dataset.labels_scopes else None


def scope_id(
    settings: Settings,
    datasets: Iterable[Dataset],
    given: str | None,
    seen: Collection[str] | None = None,
    *,
    stored: bool = False,
) -> str | None:
    """Return the id of the scope with this id or name, in any of these datasets.

    A text that names none is returned as it is: the scope may be gone, and its exports still be listed.

    Args:
        seen: Scopes that the viewer may see; None for all.
        stored: The result is stored; see `find_scope_of_any`.

    Raises:
        UserError: several scopes have this name, or scopes cannot be read that may have it.
    """
    from export_pipeline.datasets.scopes import ScopeNameError, find_scope_of_any
    from export_pipeline.sources.snapshot import SourceUnavailableError

    if given is None:
        return None
    try:
        return find_scope_of_any(datasets, partial(scopes_of, settings), given, seen, stored=stored)
    except ScopeNameError as error:
        raise UserError(str(error)) from None
    except SourceUnavailableError as error:
        raise UserError(f"{given!r} may be an id or a name, and the scopes cannot be read: {error}") from None


def typed_options(dataset: Dataset, given: dict[str, Any]) -> dict[str, Any]:
    """Convert options to the dataset's types. Raise UserError, with what is valid, if one is invalid."""
    from export_pipeline.datasets.options import OptionError

    try:
        return dataset.typed_options(given)
    except OptionError as error:
        raise UserError(str(error)) from None
