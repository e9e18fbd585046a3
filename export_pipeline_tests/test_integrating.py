"""The examples of docs/integrating.md work as they stand."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
import uvicorn

from export_pipeline.components.loading import datasets
from export_pipeline.delivery.webhooks.endpoints import create_webhook
from export_pipeline.delivery.webhooks.queue import claim
from export_pipeline.delivery.webhooks.send import body_of, deliver_due, send_test
from export_pipeline.intake.messages import parse_message
from export_pipeline.jobs import Attempt, File, Ledger, migrate
from export_pipeline.jobs.commands import Commands
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import Settings
from export_pipeline_tests.jobs.database import Database

SETTINGS = Settings.model_validate(
    {
        "webhook_key": "made up for these tests, and long",
        "webhook_networks": "127.0.0.1/32",
        "webhook_http": True,
    }
)
PAGE = (Path(__file__).parents[1] / "docs" / "integrating.md").read_text("utf-8")


def blocks(title: str, language: str) -> list[str]:
    """The examples below a heading."""
    section = PAGE.split(f"## {title}\n", 1)[1].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def statements(block: str) -> list[str]:
    return [one for one in block.split(";") if one.strip()]


@contextmanager
def served(app: Any) -> Iterator[int]:
    """The port of a web server of the application."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    waiting = threading.Event()
    while not server.started:
        assert not waiting.wait(0.02)
    yield int(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join(10)


@contextmanager
def application(url: str) -> Iterator[Database]:
    """A connection of a role that has the documented rights, and nothing else."""
    (grants,) = (block for block in blocks("SQL: ask", "sql") if block.startswith("GRANT"))
    owner, role = Database(url), f"application_{sa.make_url(url).database}"
    owner.run("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    owner.run(f"CREATE ROLE {role}")
    owner.run(f"GRANT USAGE ON SCHEMA public TO {role}")
    owner.run(grants.replace("TO application", f"TO {role}"))
    owner.run(f"SET ROLE {role}")
    try:
        yield owner
    finally:
        owner.run("RESET ROLE")
        owner.run(f"DROP OWNED BY {role}")
        owner.run(f"DROP ROLE {role}")
        owner.close()


@contextmanager
def database_of(kind: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
        migrate(url)
        with application(url) as database:
            yield database
        return
    url = f"sqlite:///{request.getfixturevalue('tmp_path')}/jobs.db"
    migrate(url)
    database = Database(url)
    yield database
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_sql_works_with_the_rights_that_are_granted(kind: str, request: pytest.FixtureRequest) -> None:
    with database_of(kind, request) as database, Ledger(database.url) as ledger:
        ask, look = statements(blocks("SQL: ask", "sql")[1])
        ((job_id,),) = database.run(ask)
        assert database.run(ask) == []
        assert database.run(look) == [(job_id, "pending")]
        command, answer = statements(blocks("SQL: cancel, retry, delete", "sql")[0])
        database.run(command)
        assert database.run(answer) == [("cancel", "pending", None)]
        assert Commands.sharing(ledger).run_pending(lambda key: None) == 1
        assert database.run(answer) == [("cancel", "done", "Canceled.")]
        assert database.run(look) == [(job_id, "canceled")]
        if kind == "postgresql":
            for wrong in (
                "UPDATE export_commands SET status = 'done'",
                "DELETE FROM export_commands",
                "INSERT INTO export_commands (job_id, command, status) SELECT id, 'cancel', 'done' FROM export_jobs",
                "UPDATE export_jobs SET idempotency_key = NULL",
            ):
                with pytest.raises(database.error, match="permission denied"):
                    database.run(wrong)


def test_the_listener_hears_of_the_end(postgres_url: str) -> None:
    migrate(postgres_url)
    (example,) = blocks("PostgreSQL: notifications of the end", "python")
    names: dict[str, Any] = {}
    exec(example, names)
    plain = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    notices: list[tuple[str, str]] = []
    heard = threading.Event()

    def listen() -> None:
        with suppress(psycopg2.OperationalError):  # the test ends its connection
            for one in names["ended_exports"](plain):
                notices.append(one)
                heard.set()

    threading.Thread(target=listen, daemon=True).start()
    database = Database(postgres_url)
    until = threading.Event()
    while database.run(
        "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN export_ended' AND state = 'idle'"
    ) != [(1,)]:
        assert not until.wait(0.02)
    with Ledger(postgres_url) as ledger:
        job = ledger.request("records", "csv")
        ledger.canceled(job.id)
    assert heard.wait(240)
    assert notices == [(job.id, "canceled")]
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN export_ended'")
    database.close()


def test_the_receiver_takes_what_is_signed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over HTTP, with a delivery of a real export's end."""
    example = next(block for block in blocks("Webhooks", "python") if "FastAPI" in block)
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(example, names)
    url, settings = f"sqlite:///{tmp_path}/jobs.db", SETTINGS
    migrate(url)
    engine = open_engine(url)
    with served(names["app"]) as port, Ledger(url) as ledger:
        webhook, secret = create_webhook(engine, settings, f"http://127.0.0.1:{port}/hooks/exports")
        monkeypatch.setenv("WEBHOOK_SECRET", secret)
        job = ledger.request("records", "csv", scope="ACCOUNT")
        run = Attempt(job.id, 1, "r")
        ledger.started(run)
        ledger.completed(run, File("exports/a/1.csv", "1.csv", 1, 1250, "x"))
        assert deliver_due(engine, settings) == {"delivered": 1}
        assert capsys.readouterr().out == f"{job.id} has 1250 rows\n"
        monkeypatch.setenv("WEBHOOK_SECRET", "whsec_c29tZWJvZHkgZWxzZQ==")
        assert send_test(engine, settings, webhook).http_status == 401
    engine.dispose()


def test_the_body_that_is_shown_is_the_one_that_is_sent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    migrate(url)
    engine = open_engine(url)
    create_webhook(engine, SETTINGS, "http://127.0.0.1:1/")
    with Ledger(url) as ledger:
        ledger.canceled(ledger.request("records", "csv", scope="ACCOUNT").id)
    claimed = claim(engine)
    engine.dispose()
    assert claimed is not None
    sent, shown = json.loads(body_of(*claimed[:3])), json.loads(blocks("Webhooks", "json")[0])
    assert (list(sent), list(sent["data"])) == (list(shown), list(shown["data"]))


def test_the_messages_of_the_queue_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, str]] = []

    class Client:
        def send_message(self, **message: str) -> None:
            sent.append(message)

    names: dict[str, Any] = {}
    exec(blocks("Queue", "python")[0], names)
    monkeypatch.setattr(names["boto3"], "client", lambda _: Client())
    names["ask"]("https://sqs.eu-west-1.amazonaws.com/1/q", "4712", "ACCOUNT", "ann")
    asked = parse_message(sent[0]["MessageBody"], {})
    assert [(one["format"], one["idempotency_key"]) for one in asked] == [
        ("csv", "4712:csv"),
        ("pdf", "4712:pdf"),
    ]
    assert {(one["dataset"], one["scope"], one["requested_by"]) for one in asked} == {
        ("records", "ACCOUNT", "ann")
    }
    asked += parse_message(blocks("Queue", "json")[0], {})
    assert (asked[2]["dataset"], asked[2]["format"], asked[2]["idempotency_key"]) == (
        "client_sow",
        "excel",
        "4711",
    )
    declared = datasets()
    for one in asked:
        declared[one["dataset"]].typed_options({**one["options"], "filters": one["filters"]})
    (setting,) = re.findall(r"`(SOW=[^`]*)`", PAGE)
    types = Settings.model_validate({"queue_types": setting}).queue_types
    assert {dataset.partition(":")[0] for dataset in types.values()} <= set(declared)
