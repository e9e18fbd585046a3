"""docs/api.md: each curl command works as it stands, and each route has one."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from export_pipeline.rights import RIGHTS
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import Running, serving
from export_pipeline_tests.delivery.webhook_receiver import webhook_receiver
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.tools import require_tool

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
COMMANDS = [
    command.strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for command in re.split(r"\n(?=curl )", block)
]


@pytest.fixture
def database(sqlite_database: Any) -> Any:
    """One kind of ledger is enough."""
    return sqlite_database


@pytest.fixture
def hooked(settings: Settings) -> Iterator[Running]:
    """A service that may tell receivers on this machine."""
    allowed = {
        "webhook_key": "a key that is made up for these tests only",
        "webhook_networks": "127.0.0.0/8",
        "webhook_http": True,
    }
    made = Settings.model_validate(allowed)
    with serving(settings.model_copy(update={name: getattr(made, name) for name in allowed})) as running:
        yield running


def test_each_route_has_an_example(service: Running) -> None:
    document = httpx.get(f"{service.url}/openapi.json").json()
    shown = {(_method(command), _path(command)) for command in COMMANDS}
    for path, operations in document["paths"].items():
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
        for method in operations:
            assert any(one == method.upper() and pattern.fullmatch(there) for one, there in shown), (
                method,
                path,
            )


@pytest.mark.slow
def test_each_command_works_as_it_stands(
    hooked: Running, accounts: list[str], database: Database, tmp_path: Path
) -> None:
    require_tool("curl")
    client = hooked.client(*RIGHTS)
    with webhook_receiver() as receiver:
        receiver.url = receiver.url.replace("receiver.example", "127.0.0.1")
        known = {
            "URL": hooked.url,
            "KEY": hooked.key(*RIGHTS),
            "SCOPE": accounts[0],
            "RECEIVER": receiver.url,
        }
        known |= _schedule(client, accounts[0])
        known["MAIL"] = _mail(database, accounts[0], known["SCHEDULE"])
        known["WEBHOOK"] = client.post("/v1/webhooks", json={"url": receiver.url}).json()["id"]
        for number, command in enumerate(COMMANDS):
            folder = tmp_path / str(number)
            folder.mkdir()
            variables = known | _export_for(command, hooked, client, accounts[0])
            done = subprocess.run(
                ["bash", "-ec", command], cwd=folder, env={"PATH": "/usr/bin:/bin", **variables},
                capture_output=True, text=True, timeout=240,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            if "-OJ" in command:
                assert [file.stat().st_size > 0 for file in folder.iterdir()] == [True]


def _export_for(command: str, service: Running, client: httpx.Client, scope: str) -> dict[str, str]:
    """An export in the state that the command needs, and a link to its file."""
    if "$ID" not in command and "$TOKEN" not in command:
        return {}
    body = {"dataset": "records", "format": "csv", "scope": scope}
    made = client.post("/v1/exports", json=body).json()["id"]
    if "/retry" in command:
        client.post(f"/v1/exports/{made}/cancel")
    elif "/cancel" not in command:
        service.complete(made)
    link = client.post(f"/v1/exports/{made}/links").json()
    return {"ID": made, "LINK": link["id"], "TOKEN": link["url"].rpartition("/")[2]}


def _schedule(client: httpx.Client, scope: str) -> dict[str, str]:
    body = {"dataset": "records", "format": "csv", "scope": scope, "cadence": "daily"}
    made = client.post("/v1/schedules", json=body)
    return {"SCHEDULE": made.json()["id"], "ETAG": made.headers["etag"]}


def _mail(database: Database, scope: str, schedule_id: str) -> str:
    """The id of a mail of a schedule."""
    ((job_id,),) = database.run(
        "INSERT INTO export_jobs (dataset, format, scope, schedule_id) VALUES ('records', 'csv', ?, ?) RETURNING id",
        scope, schedule_id,
    )  # fmt: skip
    ((mail_id,),) = database.run(
        "INSERT INTO export_deliveries (job_id, attempt, kind, recipient) "
        "VALUES (?, 1, 'file', 'ann@example.org') RETURNING id",
        str(job_id),
    )
    return str(mail_id)


def _method(command: str) -> str:
    if " -fsSI " in command:
        return "HEAD"
    named = re.search(r"-X (\w+)", command)
    return named[1] if named else "POST" if "-d '" in command else "GET"


def _path(command: str) -> str:
    path = re.search(r'"\$URL(/[^"?]*)', command)
    assert path, command
    return path[1]
