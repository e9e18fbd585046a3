"""The command `purge`: removes expired files, their manifests and leftovers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from export_pipeline.cli.console import print_error, print_json
from export_pipeline.cli.jobs_view import printable
from export_pipeline.cli.lookups import scopes_of
from export_pipeline.cli.options import By, Json, caller, ledger_of
from export_pipeline.cli.output import DeletedScopesOutput, PurgeOutput
from export_pipeline.jobs import Ledger
from export_pipeline.jobs.database import open_engine, opened_engine
from export_pipeline.jobs.deleted_scopes import DeletedScopes, datasets_with_scopes, end_deleted_scopes
from export_pipeline.jobs.store_claim import StoreClaim, StoreClaimError
from export_pipeline.settings import Settings, load_settings
from export_pipeline.store import Store

_NAMED = 10
"""Maximum number of unowned files or deleted scopes to list; the others are only counted."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(purge)


def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; print what would be removed.")
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Remove at most this many files.")
    ] = 10_000,
    confirm_deleted_scopes: Annotated[
        bool,
        typer.Option(
            "--confirm-deleted-scopes",
            help="Treat scopes that the source no longer lists as deleted, however many they are.",
        ),
    ] = False,
    take_store: Annotated[
        bool,
        typer.Option(
            "--take-store",
            help="After a restore from a backup: this ledger removes files, and no copy of it does.",
        ),
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Remove expired files, their manifests, aborted uploads and staged leftovers; report inconsistencies.

    Requests and files of scopes that the application has deleted are ended and removed too. Files under legal
    hold stay, and so do those that nothing proves to be this deployment's.

    Exit code 1: a completed job's file is missing, a file could not be removed, or the ledger may not remove
    files from this store (--take-store).

    Examples: `export-pipeline purge --dry-run`, `export-pipeline purge --json`
    """
    from export_pipeline.configured_store import open_configured_store
    from export_pipeline.jobs.file_findings import FileFinding, FindingKind
    from export_pipeline.jobs.purge import purge as run_purge

    settings = load_settings()
    findings: list[FileFinding] = []
    foreign: list[str] = []

    def report(finding: FileFinding) -> None:
        if finding.kind is FindingKind.FOREIGN:
            if len(foreign) == _NAMED:
                return
            foreign.append(printable(finding.key))
            if not as_json:
                return
        if as_json:
            findings.append(finding)
        else:
            typer.echo(_line(finding, dry_run))

    try:
        with ledger_of(settings) as ledger:
            store = open_configured_store(settings)
            refused = False
            if not dry_run:
                StoreClaim.sharing(ledger).claim(store, take=take_store)
            else:
                refused = not _would_claim(ledger, store, take_store)
            deleted = _end_deleted_scopes(settings, caller(by), confirm_deleted_scopes, dry_run)
            purged = run_purge(
                ledger,
                store,
                retention=timedelta(days=settings.retention_days),
                events_kept=timedelta(days=settings.events_days),
                dry_run=dry_run,
                deleted_scopes={(one.dataset, scope) for one in deleted for scope in one.gone},
                limit=limit,
                who=caller(by),
                report=report,
            )
            if not dry_run:
                _forget_deliveries(settings)
                erase_now(settings, ledger)
    finally:  # free disk space even if ledger or store is unavailable
        staged = _clean_staging(settings, dry_run)
    wrong = purged.counts[FindingKind.LOST] + purged.counts[FindingKind.FAILED]
    if as_json:
        print_json(
            PurgeOutput(
                dry_run=dry_run, **{what.value: purged.counts[what] for what in FindingKind},
                bytes=purged.bytes, uploads=purged.uploads, events=purged.events, staged=list(staged),
                staged_bytes=sum(staged.values()), scopes=list(map(_deleted_output, deleted)),
                ended=purged.ended, findings=findings,
            )
        )  # fmt: skip
    else:
        would = "would be " if dry_run else ""
        for line in filter(None, map(_scopes_line, deleted)):
            typer.echo(line)
        typer.echo(
            f"{purged.removed:,} files with {purged.bytes:,} bytes, {purged.uploads:,} aborted uploads and "
            f"{len(staged):,} staged leftovers with {sum(staged.values()):,} bytes {would}removed; "
            f"{purged.counts[FindingKind.STRAY]:,} files without a "
            f"job, {purged.counts[FindingKind.LOST]:,} jobs without their file."
        )
        if purged.events:
            typer.echo(f"{purged.events:,} old events {would}deleted.")
        if foreign:
            more = ", …" if purged.counts[FindingKind.FOREIGN] > len(foreign) else ""
            typer.echo(
                f"{purged.counts[FindingKind.FOREIGN]:,} files stay, as nothing proves that they are this "
                f"deployment's: {', '.join(foreign)}{more}."
            )
        if not purged.ended:
            typer.echo("The limit was reached; run it again for the rest.")
    if wrong or refused:
        raise typer.Exit(1)


def _would_claim(ledger: Ledger, store: Store, take: bool) -> bool:
    """Return whether a purge that is no dry run would go on, and report what it would do about the claim."""
    try:
        StoreClaim.sharing(ledger).check(store)
    except StoreClaimError as error:
        if not take:
            print_error(f"A purge would stop here. {error} With --take-store it would do the following:")
            return False
        typer.echo(f"Would take {store.url}: no other ledger removes files from it then.", err=True)
    return True


def _line(finding: Any, dry_run: bool) -> str:
    from export_pipeline.jobs.file_findings import FindingKind

    description = {
        FindingKind.EXPIRED: f"expired, job {finding.job_id}",
        FindingKind.OUTDATED: "expired, no job",
        FindingKind.INCOMPLETE: "incomplete and old",
        FindingKind.LOST: f"MISSING: job {finding.job_id} is completed; delete the job, or request it again",
        FindingKind.STRAY: "no job has it; removed when its manifest expires",
        FindingKind.FAILED: "could not be removed",
    }[finding.kind]
    would = (
        "would be removed: "
        if dry_run and finding.kind in (FindingKind.EXPIRED, FindingKind.OUTDATED, FindingKind.INCOMPLETE)
        else ""
    )
    problem = f" ({printable(finding.problem)})" if finding.problem else ""
    return f"{would}{finding.key}  {description}{problem}"


def _end_deleted_scopes(
    settings: Settings, who: str | None, confirmed: bool, dry_run: bool
) -> list[DeletedScopes]:
    """End requests and files of scopes that the application has deleted, where the scopes can be read."""
    from export_pipeline.components.loading import datasets
    from export_pipeline.datasets.loading import DefsError
    from export_pipeline.sources.snapshot import SourceError

    ended = []
    engine = open_engine(settings.jobs_url)
    try:
        names = datasets_with_scopes(engine)
        declared = datasets() if names else {}
        for name in names:
            if name not in declared or not declared[name].scoped:
                continue
            try:
                there = scopes_of(settings, declared[name])
            except SourceError as error:
                print_error(f"It is not known whether scopes of {name} were deleted: {error}")
                continue
            ended.append(end_deleted_scopes(engine, name, there, who, confirmed=confirmed, dry_run=dry_run))
    except DefsError as error:
        print_error(f"It is not known whether scopes were deleted: {str(error).splitlines()[0]}")
    finally:
        engine.dispose()
    return ended


def _deleted_output(deleted: DeletedScopes) -> DeletedScopesOutput:
    lists = sorted(deleted.gone), sorted(deleted.doubtful)
    return DeletedScopesOutput(deleted.dataset, *lists, deleted.canceled, deleted.due)


def _scopes_line(deleted: DeletedScopes) -> str | None:
    if deleted.doubtful:
        names = sorted(deleted.doubtful)
        more = ", …" if len(names) > _NAMED else ""
        return (
            f"{deleted.dataset}: the source does not list {len(names):,} scopes that have requests or files "
            f"({printable(', '.join(names[:_NAMED]))}{more}). That may be a fault of the source, so nothing "
            "was done. If they were deleted, add --confirm-deleted-scopes."
        )
    if deleted.canceled or deleted.due:
        return (
            f"{deleted.dataset}: {deleted.canceled:,} requests are canceled and {deleted.due:,} files due: "
            "the application has deleted their scopes."
        )
    return None


def _forget_deliveries(settings: Settings) -> None:
    """Delete old deliveries of webhooks that have ended."""
    from export_pipeline.delivery.webhooks.queue import forget

    with opened_engine(settings.jobs_url) as engine:
        forget(engine, timedelta(days=settings.events_days))


def erase_now(settings: Settings, ledger: Ledger) -> None:
    """Remove the content of removed files from Dagster's database. If it is down, a later tick does so."""
    try:
        from export_pipeline.orchestration.instance import prepare_home

        prepare_home()
        import dagster as dg

        from export_pipeline.configured_store import open_configured_store
        from export_pipeline.orchestration.sensors.erasure import erase_removed_files

        with dg.DagsterInstance.get() as instance:
            erase_removed_files(ledger, open_configured_store(settings), instance)
    except Exception as error:  # depends on Dagster's storage; the file itself is removed, as requested
        print_error(
            "Dagster's database cannot be reached, so its previews of removed files go with a later tick of "
            f"purge_sensor: {printable(error, 300)}"
        )


def _clean_staging(settings: Settings, dry_run: bool) -> dict[str, int]:
    """Remove leftovers of ended runs from the staging folder. Return the freed bytes by name."""
    from export_pipeline.orchestration.instance import prepare_home

    prepare_home()
    import dagster as dg

    from export_pipeline.orchestration.resources import ledger_resource
    from export_pipeline.orchestration.runs.staging_cleanup import clean_staging

    ledger = ledger_resource(settings)
    with dg.DagsterInstance.get() as instance:
        return clean_staging(instance, settings.staging_folder, ledger.open, dry_run=dry_run)
