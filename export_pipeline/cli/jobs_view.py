"""Jobs as text: aligned columns, sentences and progress bars."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from export_pipeline.jobs import Event, Job, Lease, LedgerUnavailableError, Status
from export_pipeline.jobs.file_notes import file_notes, rows_text
from export_pipeline.jobs.states import ENDED

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLORS = {
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.CANCELED: "yellow",
    Status.PROCESSING: "cyan",
}
_LOOK_SECONDS = 1.0
_NUMBER = re.compile(r"[\d,]*%?")


def print_lines(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print aligned columns, one line per row. Nothing is wrapped, so that ids can be copied."""
    if not rows:
        typer.echo("Nothing.")
        return
    names = list(rows[0])
    cells = [names, *([printable(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    right = [all(_NUMBER.fullmatch(line[column]) for line in cells[1:]) for column in range(len(names))]
    for line in cells:
        aligned = zip(line, widths, right, strict=True)
        texts = [text.rjust(width) if number else text.ljust(width) for text, width, number in aligned]
        typer.echo("  ".join(texts).rstrip())


def printable(value: Any, longest: int = 200) -> str:
    """Return a value as one line. Control characters are replaced by `?`, and a long value is truncated."""
    if value is None:
        return ""
    text = " ".join(str(value).split())
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def row_of(job: Job, lease: Lease | None = None) -> dict[str, Any]:
    """Return the cells of a job in a list.

    Args:
        lease: Lease of its run.
    """
    return {
        "id": job.id,
        "status": job.status.value,
        "done": f"{job.progress_percent}%",
        "dataset": job.dataset,
        "format": job.format,
        "scope": job.scope,
        "rows": rows_text(job.row_count, job.total_rows if job.status in ENDED else None),
        "bytes": "" if job.file_size is None else f"{job.file_size:,}",
        "created": moment(job.created_at),
        "what": _what(job, lease),
    }


def _what(job: Job, lease: Lease | None) -> str:
    """Return a note about a job: its error, current step, reason to wait, legal hold or warnings."""
    if job.status is Status.FAILED:
        return f"{job.error_code}: {job.error_message}"
    if job.status is Status.PROCESSING:
        if lease is not None and not lease.is_alive:
            return worker_line(job, lease)
        return job.progress_step or "starting"
    if job.status is Status.PENDING:
        again = f" for attempt {job.attempt}" if job.attempt > 1 else ""
        return f"dispatched {job.dispatches} times" if job.dispatches > 1 else f"waits{again}"
    words = ["legal hold"] if job.legal_hold else []
    if count := len(notes_of(job)):
        words.append(f"{count} warning{'s' * (count > 1)}: see `show`")
    return ", ".join(words)


def notes_of(job: Job) -> list[str]:
    """Return sentences about differences between a job's file and the source; empty without a file."""
    if job.file_key is None:
        return []
    return file_notes(job.row_count, job.total_rows, job.warnings, job.changed_cells)


def worker_line(job: Job, lease: Lease | None) -> str:
    """Return a sentence about whether the worker of a job is alive; empty if there is no worker."""
    if job.status is not Status.PROCESSING:
        return ""
    if lease is None or (lease.worker_id is None and not lease.is_lost):
        return "its worker is starting"
    seconds = f"{max(0, round(lease.silent.total_seconds()))} s"
    where = f" on {lease.host}" if lease.host else ""
    if lease.is_alive:
        return f"its worker{where} is alive; its last heartbeat was {seconds} ago"
    if lease.is_lost:
        return f"its worker{where} sent no heartbeat for {seconds} and counts as dead; the daemon tries again"
    return f"its worker{where} has sent no heartbeat for {seconds}; if none comes, the daemon tries again"


def moment(at: datetime | None) -> str:
    """Format a time for people, in UTC."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def event_line(event: Event) -> str:
    """Format an event as one line: time, event, person and details."""
    details = {key: value for key, value in event.details.items() if key not in ("attempt", "run_id")}
    details |= {key: len(details[key]) for key in ("warnings", "changed") if details.get(key)}
    facts = ", ".join(f"{key} {value}" for key, value in details.items() if value not in (None, "", [], {}))
    who = f" by {event.who}" if event.who else ""
    attempt = event.details.get("attempt", 1)
    again = f" (attempt {attempt})" if attempt != 1 else ""
    return printable(
        f"{moment(event.at)}  {event.kind.value}{who}{again}{': ' if facts else ''}{facts}", 1000
    )


def watch(look: Callable[[], list[Job]]) -> list[Job]:
    """Show jobs with progress bars until none is pending or processing. Return their final state.

    Args:
        look: Returns the jobs to show, called every second. If the ledger is unavailable, the last jobs stay.
    """
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False) as live:
        jobs: list[Job] = []
        while True:
            problem = ""
            try:
                jobs = look()
            except LedgerUnavailableError as error:
                problem = str(error)
            live.update(_view(jobs, problem), refresh=True)
            if not problem and all(job.status in ENDED for job in jobs):
                return jobs
            time.sleep(_LOOK_SECONDS)


def _view(jobs: Sequence[Job], problem: str) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text  # data must not be read as markup

    table = Table(
        box=None, caption=Text(printable(problem)) if problem else None, pad_edge=False, expand=True
    )
    for name, width in (("id", 36), ("status", 10), ("", 8), ("done", 4)):
        table.add_column(name, width=width, no_wrap=True)
    table.add_column("export", ratio=1, no_wrap=True, overflow="ellipsis")
    for job in jobs:
        row = row_of(job)
        rows = f", {row['rows']} rows" if row["rows"] else ""
        table.add_row(
            job.id,
            Text(row["status"], style=_COLORS.get(job.status, "")),
            ProgressBar(total=100, completed=job.progress_percent, width=8),
            row["done"],
            Text(printable(f"{job.dataset} {job.format}{rows} {row['what']}")),
        )
    return table
