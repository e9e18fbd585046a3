"""Small exports at once: the same file as a run makes, or no file at all."""

import base64
import csv
import hashlib
import io
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from export_pipeline.api import inline_export, inline_pool
from export_pipeline.api.inline_messages import Failure, InlineError, InlineRequest
from export_pipeline.datasets import small_export
from export_pipeline.datasets.loading import load_datasets
from export_pipeline.jobs import Status
from export_pipeline.jobs.file_notes import file_notes
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import Running
from export_pipeline_tests.api.test_exports import problem


def expected_ids(settings: Settings, account: str, where: str = "1=1") -> list[str]:
    engine = sa.create_engine(settings.source_url)
    sql = f"SELECT id FROM bookkeeping_records WHERE account_id = :account AND deleted_at IS NULL AND {where} ORDER BY updated_at DESC, id DESC"
    with engine.connect() as connection:
        ids = [str(id) for id in connection.execute(sa.text(sql), {"account": account}).scalars()]
    engine.dispose()
    return ids


def get(
    service: Running, extension: str, client: httpx.Client | None = None, **parameters: str
) -> httpx.Response:
    return (client or service.client()).get(f"/v1/datasets/records/export.{extension}", params=parameters)


def test_every_format_holds_the_rows_of_the_scope(
    service: Running, accounts: list[str], tmp_path: Path
) -> None:
    ids = expected_ids(service.settings, accounts[0])
    assert len(ids) > 3
    answers = {
        extension: get(service, extension, scope=accounts[0])
        for extension in ("csv", "json", "jsonl", "xlsx", "pdf", "parquet")
    }
    for extension, answer in answers.items():
        assert answer.status_code == 200, (extension, answer.text)
        digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.headers["export-rows"] == str(len(ids))
        assert f".{extension}" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answers["csv"].content.decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == ids
    assert [row["id"] for row in answers["json"].json()["records"]] == ids
    assert pq.read_table(io.BytesIO(answers["parquet"].content)).column("id").to_pylist() == ids
    sheet = openpyxl.load_workbook(io.BytesIO(answers["xlsx"].content)).active
    assert sheet is not None
    assert sheet.max_row >= len(ids) + 1
    assert answers["pdf"].content.startswith(b"%PDF")


def test_an_inline_export_is_an_export_like_any_other(service: Running, accounts: list[str]) -> None:
    client = service.client()
    answer = get(service, "csv", client, scope=accounts[0], columns="id,status", **{"option.csv_bom": "true"})
    assert answer.status_code == 200, answer.text
    export = client.get(f"/v1/exports/{answer.headers['export-id']}").json()
    assert (export["status"], export["scope"], export["columns"]) == (
        "completed",
        accounts[0],
        ["id", "status"],
    )
    assert export["row_count"] == int(answer.headers["export-rows"])
    assert export["total_rows"] == int(answer.headers["export-total-rows"])
    assert [one["id"] for one in client.get("/v1/exports").json()["data"]] == [export["id"]]
    assert client.get(f"/v1/exports/{export['id']}/file").content == answer.content
    manifest = client.get(f"/v1/exports/{export['id']}/manifest").json()
    assert manifest["hash"] == f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    assert {"snapshot_at", "expires_at", "deployment", "run_id"} <= manifest.keys()
    assert [event.kind for event in service.ledger.events(export["id"])][:3] == [
        "requested",
        "started",
        "completed",
    ]
    assert os.listdir(service.app.state.pool.folder) == []
    assert client.delete(f"/v1/exports/{export['id']}").status_code == 204
    assert list(service.store.list()) == []
    assert problem(client.get(f"/v1/exports/{export['id']}")) == (404, "not_found")


def test_an_answer_counts_all_that_the_row_says_about_its_file(
    service: Running, accounts: list[str], formula: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed cells too, of an export that was just made and of one that is reused."""
    records = service.app.state.service.datasets["records"]
    reusing = records.attributes.model_copy(update={"reuse_seconds": 300})
    monkeypatch.setattr(records, "attributes", reusing)
    for _ in range(2):
        answer = get(service, "csv", scope=accounts[0])
        export = service.client().get(f"/v1/exports/{answer.headers['export-id']}").json()
        notes = file_notes(
            export["row_count"], export["total_rows"], export["warnings"], export["changed_cells"]
        )
        assert int(answer.headers["export-warnings"]) == len(notes)
        assert len(notes) > 0


def test_a_file_lives_as_long_as_its_dataset_says(service: Running, accounts: list[str]) -> None:
    job = service.ledger.get(get(service, "csv", scope=accounts[0]).headers["export-id"])
    assert job.expires_at is not None
    days = (job.expires_at - service.ledger.now()).total_seconds() / 86400
    assert days == pytest.approx(30, abs=0.01)  # not the 7 days of the deployment


def test_an_identical_finished_export_is_reused_where_the_dataset_allows_it(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = service.client(acts_for="ann"), service.client(acts_for="bob")
    never = [get(service, "csv", ann, scope=accounts[0]).headers["export-id"] for _ in range(2)]
    records = service.app.state.service.datasets["records"]
    reusing = records.attributes.model_copy(update={"reuse_seconds": 300})
    monkeypatch.setattr(records, "attributes", reusing)
    first = get(service, "csv", ann, scope=accounts[0])
    again = get(service, "csv", ann, scope=accounts[0])
    assert again.content == first.content
    for name in (
        "content-disposition",
        "repr-digest",
        "export-rows",
        "export-total-rows",
        "export-warnings",
        "export-snapshot-at",
    ):
        assert again.headers[name] == first.headers[name]
    keys = [service.ledger.get(one.headers["export-id"]).file_key for one in (first, again)]
    assert keys[0] == keys[1] == service.ledger.get(never[1]).file_key
    assert len({*never, first.headers["export-id"], again.headers["export-id"]}) == 4
    asked = ann.post("/v1/exports", json={"dataset": "records", "format": "csv", "scope": accounts[0]})
    assert asked.json()["status"] == "completed"  # the queue reuses it too
    for other, scope, more in [
        (bob, accounts[0], {}), (ann, accounts[1], {}), (ann, accounts[0], {"columns": "id"}),
        (ann, accounts[0], {"filter.status.equals": "SUCCESSFUL"}),
    ]:  # fmt: skip
        answer = get(service, "csv", other, scope=scope, **more)
        assert answer.status_code == 200, answer.text
        assert service.ledger.get(answer.headers["export-id"]).file_key not in keys


def test_columns_filters_and_options_are_those_of_a_request(service: Running, accounts: list[str]) -> None:
    answer = get(
        service, "csv", scope=accounts[0], columns="id,status",
        **{"filter.status.in": "SUCCESSFUL,RETURN_CLOSED", "filter.sale_date.from": "2026-01-01", "option.csv_delimiter": "semicolon"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    lines = answer.content.decode().splitlines()
    assert lines[0] == "id;status"
    where = "status IN ('SUCCESSFUL', 'RETURN_CLOSED') AND sale_date >= '2026-01-01'"
    assert [line.split(";")[0] for line in lines[1:]] == expected_ids(service.settings, accounts[0], where)


def test_values_are_quoted_as_on_the_command_line(service: Running, accounts: list[str]) -> None:
    answer = get(service, "json", scope=accounts[0], **{"filter.status.in": '"SUCCESSFUL","x, y"'})
    (error,) = answer.json()["errors"]
    assert error["detail"].endswith('not "x, y"')
    answer = get(service, "json", scope=accounts[0], **{"filter.status.in": '"SUCCESSFUL"'})
    ids = [row["id"] for row in answer.json()["records"]]
    assert ids == expected_ids(service.settings, accounts[0], "status = 'SUCCESSFUL'") != []


@pytest.mark.parametrize(
    "parameters",
    [
        [("filter.status.equals", "A"), ("filter.status.equals", "B")],
        [("filter.status.in", '"A')],
        [("option.csv_bom", "true"), ("option.csv_bom", "false")],
        [("columns", "id"), ("columns", "status")],
        [("scope", "x"), ("scope", "y")],
    ],
)
def test_no_parameter_is_dropped_in_silence(
    service: Running, accounts: list[str], parameters: list[tuple[str, str]]
) -> None:
    scope = [] if parameters[0][0] == "scope" else [("scope", accounts[0])]
    answer = service.client().get("/v1/datasets/records/export.csv", params=[*scope, *parameters])
    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["pointer"]


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"columns": "nothing"}, 422, "invalid_options"),
        ({"filter.nothing.equals": "1"}, 422, "invalid_options"),
        ({"filter.status": "1"}, 422, "invalid_options"),
        ({"filter.": "1"}, 422, "invalid_options"),
        ({"option.csv_bon": "1"}, 422, "invalid_options"),
        ({"scope": "nobody"}, 422, "unknown_scope"),
        ({"limit": "5"}, 422, "invalid_request"),
    ],
)
def test_an_inline_export_is_refused_where_a_request_would_be(
    service: Running, accounts: list[str], parameters: Mapping[str, str], status: int, code: str
) -> None:
    assert problem(get(service, "csv", **{"scope": accounts[0], **parameters})) == (status, code)
    assert problem(get(service, "docx", scope=accounts[0])) == (404, "not_found")


def test_an_inline_export_needs_the_right_to_see_the_scope(service: Running, accounts: list[str]) -> None:
    foreign = service.client(scopes=[accounts[1]])
    assert problem(get(service, "csv", foreign, scope=accounts[0])) == (404, "not_found")
    assert problem(get(service, "csv", service.client(datasets=["sellers"]), scope=accounts[0])) == (
        422,
        "unknown_dataset",
    )
    assert problem(get(service, "csv", service.client("links:create"), scope=accounts[0])) == (
        403,
        "forbidden",
    )


def test_a_guarded_column_is_for_its_readers(service: Running) -> None:
    engine = sa.create_engine(service.settings.source_url)
    with engine.connect() as connection:
        reader, account = connection.execute(
            sa.text("SELECT user_id, account_id FROM order_remark_readers")
        ).first() or ("", "")
    engine.dispose()
    remarks = []
    for client in (service.client(acts_for=str(reader)), service.client()):
        answer = get(service, "csv", client, scope=str(account), columns="id,order_remark")
        remarks.append({line.partition(",")[2] for line in answer.text.splitlines()[1:]})
    assert any(remarks[0])
    assert remarks[1] == {""}


def test_a_larger_one_is_to_be_asked_for(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client()
    monkeypatch.setattr(inline_pool.ExportPool, "run", _in_this_process)
    monkeypatch.setattr(small_export, "MAX_ROWS", 2)
    answer = get(service, "csv", client, scope=accounts[0], preset="financial")
    assert problem(answer) == (413, "too_large")
    again = client.post("/v1/exports", json=answer.json()["request"])
    assert again.status_code == 202
    assert again.json()["options"] == {"preset": "financial"}


def test_a_file_that_is_not_proven_is_never_sent(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline_pool.ExportPool, "run", _in_this_process)
    monkeypatch.setattr(small_export, "rows_agree", lambda *_: False)
    assert problem(get(service, "csv", scope=accounts[0])) == (500, "internal")
    assert os.listdir(service.app.state.pool.folder) == []
    assert list(service.store.list()) == []
    assert service.ledger.find() == []


def _in_this_process(self: inline_pool.ExportPool, request: InlineRequest) -> Any:
    exporter = inline_export.InlineExporter(self._settings, load_datasets(), self.folder)
    try:
        return exporter.make(request)
    except small_export.NotProvenError as error:
        raise InlineError(Failure.INTERNAL, str(error)) from error


def test_a_stuck_process_is_replaced(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(inline_pool.PROCESSES):
        assert get(service, "csv", scope=accounts[0]).status_code == 200
    monkeypatch.setattr(inline_pool, "DEADLINE_SECONDS", 1.0)
    for process in list(service.app.state.pool._started):
        os.kill(process, signal.SIGSTOP)
    for _ in range(inline_pool.PROCESSES):
        answer = get(service, "csv", scope=accounts[0])
        assert problem(answer) == (413, "too_large")
        assert answer.json()["request"]["scope"] == accounts[0]
    monkeypatch.setattr(inline_pool, "DEADLINE_SECONDS", 20.0)
    assert get(service, "csv", scope=accounts[0]).status_code == 200
    assert os.listdir(service.app.state.pool.folder) == []


def test_a_process_that_died_unasked_costs_nobody_an_answer(service: Running, accounts: list[str]) -> None:
    for _ in range(inline_pool.PROCESSES):
        assert get(service, "csv", scope=accounts[0]).status_code == 200
    for worker in list(service.app.state.pool._started.values()):
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.connection.poll(5)  # it has ended
    for _ in range(inline_pool.PROCESSES):
        assert get(service, "csv", scope=accounts[0]).status_code == 200


def test_makers_start_again_after_their_parent_has_died(service: Running, accounts: list[str]) -> None:
    exports = service.app.state.pool
    assert get(service, "csv", scope=accounts[0]).status_code == 200
    os.kill(exports.fork_server._process.pid, signal.SIGKILL)
    exports.fork_server._process.join(5)
    assert get(service, "csv", scope=accounts[0]).status_code == 200  # by the worker that lives
    for worker in list(exports._started.values()):
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.connection.poll(5)
    for _ in range(inline_pool.PROCESSES):
        assert get(service, "csv", scope=accounts[0]).status_code == 200


def test_each_failure_has_its_status(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(reason: Failure) -> None:
        def run(self: inline_pool.ExportPool, request: InlineRequest) -> Any:
            raise InlineError(reason, "It is so.")

        monkeypatch.setattr(inline_pool.ExportPool, "run", run)

    expected = {
        Failure.TOO_LARGE: (413, "too_large"), Failure.SOURCE_UNAVAILABLE: (503, "unavailable"),
        Failure.SOURCE_ERROR: (422, "source_error"), Failure.UNAVAILABLE: (503, "unavailable"),
        Failure.CANCELED: (409, "state_conflict"), Failure.INTERNAL: (500, "internal"),
    }  # fmt: skip
    assert set(expected) == set(Failure)
    for reason, answer in expected.items():
        fail(reason)
        assert problem(get(service, "csv", scope=accounts[0])) == answer


def test_too_many_at_once_are_told_to_come_again(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline_pool, "_WAIT_SECONDS", 0.1)
    assert get(service, "csv", scope=accounts[0]).status_code == 200
    held = [service.app.state.pool._free.get() for _ in range(inline_pool.PROCESSES)]
    answer = get(service, "csv", scope=accounts[0])
    assert problem(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    for worker in held:
        service.app.state.pool._free.put(worker)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(get(service, "csv", scope=accounts[0]).status_code))
        for _ in range(6)
    ]
    monkeypatch.setattr(inline_pool, "_WAIT_SECONDS", 20)
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 6
    assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_fifty_at_once_are_made_or_told_to_come_again(service: Running, accounts: list[str]) -> None:
    client = service.client()
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: get(service, "csv", client, scope=accounts[0]), range(50)))
    made = [answer for answer in answers if answer.status_code == 200]
    assert len(made) >= inline_pool.PROCESSES
    for answer in answers:
        if answer.status_code != 200:
            assert problem(answer) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
    assert len({answer.headers["export-id"] for answer in made}) == len(made)
    assert len(service.ledger.find(limit=100)) == len(made)
    assert get(service, "csv", client, scope=accounts[0]).status_code == 200


@pytest.mark.slow
def test_a_client_that_goes_away_holds_nothing(
    service: Running, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline_pool, "_WAIT_SECONDS", 60.0)  # on a slow machine too, each is made
    assert get(service, "csv", scope=accounts[0]).status_code == 200
    host, port = service.url.removeprefix("http://").split(":")
    ask = f"GET /v1/datasets/records/export.csv?scope={accounts[0]} HTTP/1.1\r\nHost: {host}\r\n"
    ask += f"Authorization: Bearer {service.key()}\r\n\r\n"
    for _ in range(5):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(ask.encode())

    def is_over() -> bool:
        done = service.ledger.find(status=[Status.COMPLETED])
        return len(done) == 6 and open_files(service.settings.store_url) == []

    until = time.monotonic() + 60
    while not is_over() and time.monotonic() < until:
        time.sleep(0.05)
    assert is_over()


def open_files(folder: str) -> list[str]:
    """The files of a folder that this process has open."""
    files = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            files.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in files if path.startswith(folder)]
