"""Every command that README, docs and help show is run as it stands; only its placeholders are filled in."""

from __future__ import annotations

import re
import shlex
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer

from export_pipeline.cli.app import app
from export_pipeline.demo import archive, bookkeeping, ecology, property_services, takeoff
from export_pipeline.jobs import Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.tables import deliveries
from export_pipeline.project.new_project import write_project
from export_pipeline.settings import load_settings
from export_pipeline_tests.cli.stored import stored
from export_pipeline_tests.commands import Command
from export_pipeline_tests.jobs.lives import job_in
from export_pipeline_tests.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.append(ROOT / "export_pipeline" / "project" / "README.md")

ELSEWHERE = {
    "demo": "cli/test_cli.py",
    "dev": "cli/test_cli.py",
    "serve": "api/",
    "init": "test_project.py",
    "--install-completion": "changes the shell's own files",
}
"""Commands that do not end, or are tested on their own."""

COMMAND = r"(?:\.venv/bin/)?export-pipeline( +[^`\n]*)"
EXIT_CODES = {"health": (0, 1), "webhooks test": (0, 1)}
"""Commands whose exit code tells of the deployment: here no daemon runs, and nobody listens."""


def shown() -> Iterator[str]:
    """The command lines of all pages and help texts, without comments and what a shell does with the output."""
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for language, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL):
            if language in ("", "sh"):
                yield from re.findall(rf"^(?:[*/\d]+ .*?)?{COMMAND}", block, re.MULTILINE)
        yield from re.findall(f"`{COMMAND}`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    yield from _of_help(typer.main.get_command(app))


def _of_help(group: Any) -> Iterator[str]:
    for command in group.commands.values():
        yield from re.findall(f"`{COMMAND}`", " ".join((command.help or "").split()))
        if hasattr(command, "commands"):
            yield from _of_help(command)


def lines() -> list[str]:
    commands = {" ".join(re.split(r" # |\s[|>]|&&", line)[0].split()) for line in shown() if "…" not in line}
    return sorted(line for line in commands if line.split()[0] not in ELSEWHERE)


@pytest.fixture(scope="module")
def source_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All sample applications, and a table `orders`."""
    path = tmp_path_factory.mktemp("documented") / "app.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    takeoff.fill(engine, [takeoff.sized(20, "Small project")])
    for application in (archive, bookkeeping, ecology, property_services):
        application.fill(engine)
    engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (id integer PRIMARY KEY, name text)")
        connection.execute("INSERT INTO orders VALUES (1, 'first')")
    return f"sqlite:///{path}"


class World:
    """A deployment in which there is something for each placeholder."""

    def __init__(self, command: Command, ledger: Ledger, folder: Path, exports: dict[str, bytes]) -> None:
        self.command, self.ledger, self.folder, self.exports = command, ledger, folder, exports

    def filled(self, line: str) -> list[str]:
        """The arguments of a command line with real ids, keys and files."""
        words = shlex.split(line)
        if words in (["cancel"], ["request"], ["verify"], ["keys", "create"]):
            return [*words, "--help"]  # only its name is mentioned
        name = " ".join(words[:2]) if words[0] in ("schedules", "keys", "webhooks") else words[0]
        dataset = next((word for word in words if word in ("records", "takeoff")), "records")
        filled = []
        for before, word in zip(["", *words], words, strict=False):
            if before in ("--scope", "--viewer-scope"):
                word = self.scope(dataset)
            elif before == "--metrics-file":
                word = str(self.folder / "exports.prom")
            elif word in ("DATASET", "TABLE", "COMMAND"):
                word = {"DATASET": dataset, "TABLE": "orders", "COMMAND": "jobs"}[word]
            elif word == "sales.orders":
                word = "main.orders"  # SQLite's only schema
            elif word.startswith("https://"):
                word = "http://127.0.0.1:9/hooks"  # a name needs a resolver
            elif word in ("ID", "KEY", "FILE") or re.fullmatch(
                r"[0-9a-f-]{16,36}|exports/SCOPE/.*|\./download.*", word
            ):
                word = self.thing(name, word)
            filled.append(word)
        if name in ("delete", "schedules delete") and "--yes" not in filled:
            filled.append("--yes")  # nobody is here to be asked
        return filled

    def scope(self, dataset: str) -> str:
        (listed,) = self.command("datasets", "--scopes", dataset, "--json").json
        return str(listed["scopes"][0]["scope"])

    def thing(self, name: str, word: str) -> str:
        """Return the object of a command: a job in a fitting state, its file's key, a copy of the file, a schedule …"""
        group = name.split()[0]
        if group == "schedules":
            made = (
                "create",
                "records",
                "--scope",
                self.scope("records"),
                "--format",
                "csv",
                "--cadence",
                "daily",
            )
            return str(self.command("schedules", *made, "--json").json["id"])
        if group == "keys":
            return str(self.command("keys", "create", "backend", "--json").json["id"])
        if group == "webhooks":
            return str(self.command("webhooks", "create", "http://127.0.0.1:9/hooks", "--json").json["id"])
        if name in ("cancel", "retry"):
            return job_in(self.ledger, Status.PENDING if name == "cancel" else Status.FAILED).id
        if name == "resend":
            return self.mailed()
        job = stored(self.ledger, self.folder)
        if word == "FILE" or word.startswith("./"):
            copy = self.folder / "download.csv"
            copy.write_bytes((self.folder / "store" / str(job.file_key)).read_bytes())
            return str(copy)
        if name == "verify" or word.startswith(("KEY", "exports/")):
            return self.exported()
        return job.id

    def exported(self) -> str:
        """The key of an exported file with its manifest; exported once for all commands, and copied."""
        if not self.exports:
            scope = self.scope("records")
            (export,) = self.command("request", "records", "--scope", scope, "--json").json["exports"]
            key = str(export["file_key"])
            for name in (key, f"{key}.manifest.json"):
                self.exports[name] = (self.folder / "store" / name).read_bytes()
        for name, content in self.exports.items():
            path = self.folder / "store" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return next(iter(self.exports))

    def mailed(self) -> str:
        """A job whose mail to Ann has failed."""
        job = job_in(self.ledger, Status.FAILED)
        engine = open_engine(load_settings().jobs_url)
        row = {"id": str(uuid.uuid4()), "job_id": job.id, "attempt": 1, "kind": "file", "message_id": "<1@x>"}
        with engine.begin() as connection:
            connection.execute(
                sa.insert(deliveries), {**row, "recipient": "ann@example.org", "status": "failed"}
            )
        return job.id


@pytest.fixture(scope="module")
def exports() -> dict[str, bytes]:
    """A file and its manifest by their keys in the store, once a command has needed them."""
    return {}


@pytest.fixture
def world(
    command: Command,
    source_url: str,
    exports: dict[str, bytes],
    make_ledger: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    url = f"sqlite:///{tmp_path}/jobs.db"
    for name, value in {
        "EXPORT_SOURCE_URL": source_url, "EXPORT_JOBS_URL": url, "EXPORT_WEBHOOK_KEY": "k" * 32,
        "EXPORT_WEBHOOK_HTTP": "true", "EXPORT_WEBHOOK_NETWORKS": "127.0.0.0/8",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    make_ledger(tmp_path / "jobs.db")
    with Ledger(url) as ledger:
        yield World(command, ledger, tmp_path, exports)


@pytest.mark.slow
@pytest.mark.parametrize("line", lines())
def test_a_documented_command_runs(
    line: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = world.filled(line)
    if "orders" in line or "TABLE" in line:
        write_project(tmp_path / "project")
        monkeypatch.chdir(tmp_path / "project")
        if "introspect" not in line:
            assert world.command("introspect", "orders", "--write").code == 0
    ended = world.command(*arguments)
    name = " ".join(arguments[:2])
    allowed = EXIT_CODES.get(name) or EXIT_CODES.get(arguments[0]) or (0,)
    assert ended.code in allowed, f"{' '.join(arguments)}: {ended.err}"


def test_enough_commands_are_found() -> None:
    assert len(lines()) > 60
    assert {line.split()[0] for line in lines()} >= {"request", "show", "schedules", "purge", "introspect"}
