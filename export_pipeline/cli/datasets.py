"""What commands about datasets share: what is declared, whose rows, which options."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from export_pipeline.cli.console import UserError
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from export_pipeline.components.dataset import Dataset
    from export_pipeline.store import Store


def load_definitions() -> dg.Definitions:
    """The code location in this process, with DAGSTER_HOME prepared; a wrong defs.yaml is a UserError."""
    declared()  # a wrong defs.yaml should be said in one line, not by Dagster
    from export_pipeline.orchestration.instance import prepare_home

    prepare_home()
    from export_pipeline.definitions import defs

    return defs()


def store_at(settings: Settings) -> Store:
    """The store that the settings name, open."""
    from export_pipeline.orchestration.resources import store_of

    return store_of(settings).open()


def checked_key(text: str) -> str:
    """A key that somebody typed, or copied with the store's own URL before it."""
    from export_pipeline.store.keys import check_key

    try:
        return check_key(text)
    except ValueError as error:
        raise UserError(f"{error}; keys look like exports/SCOPE/ID.csv") from None


def declared() -> dict[str, Dataset]:
    """The datasets by name; a wrong defs.yaml is a UserError with a line for each mistake."""
    from export_pipeline.components.catalogue import DefsError, datasets

    try:
        return datasets()
    except DefsError as error:
        raise UserError(*str(error).splitlines()) from None


def dataset_of(name: str) -> Dataset:
    """The dataset of a name; an unknown one is a UserError that lists those there are."""
    there = declared()
    if name not in there:
        near = get_close_matches(name, there, 1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise UserError(f"There is no dataset {name!r}; {hint} are {', '.join(there)}.")
    return there[name]


def scopes_of(settings: Settings, dataset: Dataset) -> dict[str, str]:
    """Name by id of a dataset's scopes."""
    from importlib import import_module

    from export_pipeline.orchestration.resources import source_of

    with source_of(settings).snapshot() as snapshot:
        scopes: dict[str, str] = import_module(dataset.source).scopes(snapshot, dataset.spec)
    return scopes


def formats_of(dataset: Dataset, text: str) -> list[str]:
    """The formats of a list with commas, each once; one that the dataset has not is a UserError."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := ", ".join(repr(name) for name in names if name not in dataset.formats):
        raise UserError(f"{dataset.dataset} has no format {unknown}; it has {', '.join(dataset.formats)}.")
    return names


def check_scope(settings: Settings, dataset: Dataset, scope: str | None) -> None:
    """Refuse a scope that is not there, one too many, and one that is missing."""
    if not dataset.scoped:
        if scope is not None:
            raise UserError(f"{dataset.dataset} has no scopes; leave --scope out.")
        return
    there = scopes_of(settings, dataset)
    known = f"`export-pipeline datasets --scopes {dataset.dataset}` lists the {len(there):,} there are."
    if scope is None:
        raise UserError(f"Say whose rows, with --scope; {known}")
    if scope not in there:
        raise UserError(f"{dataset.dataset} has no scope {scope!r}; {known}")
    from export_pipeline.orchestration.partitions import scope_key

    try:
        scope_key(scope)
    except ValueError as error:
        raise UserError(f"The scope {scope!r} {error}.") from None


def typed_options(dataset: Dataset, given: dict[str, Any]) -> dict[str, Any]:
    """Options as the dataset's types; a wrong one is a UserError that says what is valid."""
    from export_pipeline.orchestration.launch_config import OptionError

    try:
        return dataset.typed_options(given)
    except OptionError as error:
        raise UserError(str(error)) from None
