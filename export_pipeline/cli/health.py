"""The command `health`: reports problems, or metrics for Prometheus."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from export_pipeline.cli.console import UserError, print_json
from export_pipeline.cli.jobs_view import moment, printable
from export_pipeline.cli.options import Json
from export_pipeline.health import run_checks
from export_pipeline.jobs.stats import Statistics
from export_pipeline.metrics import metrics_text, write_metrics
from export_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(health)


def health(
    minutes: Annotated[
        int,
        typer.Option(
            metavar="NUMBER", min=1, help="How long a request or mail may take before it is a finding."
        ),
    ] = 15,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Print the ledger's statistics for Prometheus instead.")
    ] = False,
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.prom",
            help="Write the statistics there, for the node exporter's textfile collector.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Report problems, since when, and what to do: databases, store, disks, Dagster, requests, mails.

    Exit code 1 means that something is wrong; advice is printed, but is no reason for it.

    Examples: `export-pipeline health`, `export-pipeline health --minutes 5 --json`,
    `export-pipeline health --metrics-file /var/lib/node_exporter/exports.prom`
    """
    settings = load_settings()
    if metrics or metrics_file:
        if as_json:
            raise UserError("--metrics is a format of its own; leave --json out.")
        with Statistics(settings.jobs_url) as statistics:
            _print_metrics(statistics, metrics_file)
        return
    findings = run_checks(settings, late=timedelta(minutes=minutes))
    wrong = [finding for finding in findings if not finding.is_advice]
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            since = f" (since {moment(finding.since)})" if finding.since else ""
            color = "yellow" if finding.is_advice else "red"
            typer.secho(f"{finding.code}: {printable(finding.wrong, 1000)}{since}", fg=color)
            typer.echo(f"  {printable(finding.do, 1000)}")
        if not wrong:
            typer.echo("All is well.")
    if wrong:
        raise typer.Exit(1)


def _print_metrics(statistics: Statistics, file: Path | None) -> None:
    if file is None:
        typer.echo(metrics_text(statistics), nl=False)
        return
    if file.suffix != ".prom":
        raise UserError(
            f"--metrics-file {file}: its name must end in .prom, or the node exporter passes over it."
        )
    try:
        write_metrics(statistics, file)
    except OSError as error:
        raise UserError(f"--metrics-file {file} cannot be written: {error.strerror or error}.") from None
