"""Commands for the keys of the HTTP service's callers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from export_pipeline.cli.completion import complete_dataset
from export_pipeline.cli.console import UserError, print_facts, print_json, print_table
from export_pipeline.cli.jobs_view import moment
from export_pipeline.cli.lookups import declared, scope_id
from export_pipeline.cli.options import By, Json, caller
from export_pipeline.cli.output import KeyWithToken, fields_of
from export_pipeline.jobs.api_keys import Key, create_key, list_keys, revoke_key, rotate_key
from export_pipeline.jobs.database import opened_engine
from export_pipeline.rights import RIGHTS
from export_pipeline.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Keys of callers of the HTTP service.")

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `keys list` shows it.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, e.g. backend.")],
    right: Annotated[
        list[str] | None,
        typer.Option(metavar="RIGHT", help=f"What it may do: {', '.join(RIGHTS)}; repeatable."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="ID|NAME", help="Only rows of this scope; repeatable. Default: all scopes."),
    ] = None,
    unscoped: Annotated[
        bool, typer.Option("--unscoped", help="With --scope: also datasets that have no scopes.")
    ] = False,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET",
            help="Only this dataset; repeatable. Default: all.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    acts_for: Annotated[
        str | None,
        typer.Option(
            metavar="PERSON", help="The person for whom it asks: decides what guarded columns show."
        ),
    ] = None,
    days: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=3650, help="Days until it expires.")
    ] = 365,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Create a key. It is shown once, as only its hash is stored.

    Example: `export-pipeline keys create backend --right exports:read --right exports:write --scope acme`
    """
    if unscoped and not scope:
        raise UserError("--unscoped only adds to --scope; without --scope the key sees all.")
    if scope:
        named = [one for one in declared().values() if dataset is None or one.dataset in dataset]
        scope = [scope_id(load_settings(), named, one, stored=True) or one for one in scope]
    with _engine() as engine:
        key, token = create_key(
            engine,
            name,
            right or ["exports:read", "exports:write", "links:create"],
            datasets=dataset or None,
            scopes=[*scope, *([None] if unscoped else [])] if scope else None,
            acts_for=acts_for,
            expires_at=datetime.now(UTC) + timedelta(days=days),
            created_by=caller(by),
        )
    _show_token(key, token, as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the keys, newest first.

    Example: `export-pipeline keys list`
    """
    with _engine() as engine:
        keys = list_keys(engine)
    if as_json:
        print_json(keys)
        return
    now = datetime.now(UTC)
    print_table(
        [
            {
                "id": key.id,
                "name": key.name,
                "rights": " ".join(key.rights),
                "scopes": _listed(key.scopes),
                "datasets": _listed(key.datasets),
                "acts for": key.acts_for or "",
                "expires": moment(key.expires_at),
                "used": moment(key.used_at),
                "state": "revoked"
                if key.revoked_at
                else "expired"
                if key.expires_at and key.expires_at <= now
                else "valid",
            }
            for key in keys
        ]
    )


@app.command()
def revoke(key_id: KeyId, as_json: Json = False) -> None:
    """Revoke a key for good, within a second. Its requests stay.

    Example: `export-pipeline keys revoke 3f2a9c0d1e4b5a67`
    """
    with _engine() as engine:
        key = revoke_key(engine, key_id)
    print_json(key) if as_json else typer.echo(f"{key.id} ({key.name}): Revoked.")


@app.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        int, typer.Option(metavar="HOURS", min=0, max=8_760, help="How long the old secret still works.")
    ] = 24,
    as_json: Json = False,
) -> None:
    """Give a key a new secret, with the same rights. The old one works for a while.

    Example: `export-pipeline keys rotate 3f2a9c0d1e4b5a67 --overlap-hours 1`
    """
    with _engine() as engine:
        key, token = rotate_key(engine, key_id, timedelta(hours=overlap_hours))
    _show_token(key, token, as_json)


def _engine() -> AbstractContextManager[sa.Engine]:
    return opened_engine(load_settings().jobs_url)


def _show_token(key: Key, token: str, as_json: bool) -> None:
    if as_json:
        print_json(KeyWithToken(**fields_of(key), token=token))
        return
    facts: dict[str, Any] = {"id": key.id, "name": key.name, "rights": ", ".join(key.rights), "key": token}
    print_facts(facts)
    typer.echo("\nStore it now: it is not shown again.")


def _listed(names: Any) -> str:
    return "all" if names is None else ", ".join("(none)" if name is None else name for name in names)
