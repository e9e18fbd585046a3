"""The UI with 20,000 customers in Chromium: one customer's file, a fortnight of one, and what is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time
from playwright.sync_api import Page

from export_pipeline.jobs import Ledger, Status, migrate
from export_pipeline.project.new_project import write_project
from export_pipeline_tests.delivery.mail_server import MailServer, mail_server
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.system.customers import fill
from export_pipeline_tests.system.test_dev import (
    COMMAND,
    STARTED_SECONDS,
    Analyst,
    at_home,
    own_environment,
    running_dev,
)
from export_pipeline_tests.tools import require_tool

CUSTOMERS = 20_000
NAME = "Customer 19999 of the north"
ID = str(uuid.uuid5(uuid.NAMESPACE_URL, "19999"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, mails: MailServer) -> Path:
    require_tool("chromium")
    folder = tmp_path_factory.mktemp("many") / "project"
    write_project(folder)
    shutil.rmtree(folder / "defs" / "example")
    text = (ROOT / "export_pipeline" / "defs" / "records" / "defs.yaml").read_text()
    text = text.replace("  formats:", "  partition_windows_by_scope: false\n  formats:", 1)
    (folder / "defs" / "records").mkdir()
    (folder / "defs" / "records" / "defs.yaml").write_text(text)
    url = f"sqlite:///{folder}/app.db"
    fill(url, CUSTOMERS)
    migrate(url)
    (folder / ".env").write_text(
        f"EXPORT_SOURCE_URL={url}\nEXPORT_MAX_BACKFILL_PARTITIONS=100\n"
        f"EXPORT_SMTP_URL={mails.url}\nEXPORT_MAIL_FROM=exports@example.org\n"
    )
    return folder


@pytest.fixture(scope="module")
def ui(project: Path) -> Iterator[str]:
    with running_dev(project) as dev:
        until = time.monotonic() + STARTED_SECONDS
        with dg.DagsterInstance.from_config(str(project / ".dagster_home")) as instance:
            while len(instance.get_dynamic_partitions("records_scopes")) < CUSTOMERS:
                assert time.monotonic() < until, dev.log
                time.sleep(1)
        yield dev.url


@pytest.fixture
def analyst(ui: str) -> Iterator[Analyst]:
    with at_home(ui) as analyst:
        yield analyst


def test_a_named_customers_excel_file_in_eight_clicks(analyst: Analyst, tmp_path: Path) -> None:
    page = analyst.page
    page.get_by_text("Jobs", exact=True).first.wait_for()
    analyst.click(page.get_by_text("Search", exact=True))
    page.keyboard.type("records excel")
    analyst.click(page.get_by_text("records / on_demand / excel").first)
    page.get_by_text("Net earnings less cost of goods").first.wait_for()
    analyst.open_launchpad()
    analyst.choose_partition("19999", f"{NAME} (")
    cells = analyst.export_successful(tmp_path / "export.xlsx")
    assert analyst.clicks <= 8
    assert {one for one in cells if str(one).startswith("Lamp")} == {"Lamp of 19999"}


def open_dialog(page: Page, ui: str, asset: str) -> None:
    page.goto(f"{ui}/assets/{asset}", wait_until="domcontentloaded")
    page.locator("button", has_text="Materialize").first.click()
    page.get_by_text("Partition selection").first.wait_for()


def running(project: Path) -> list[dg.DagsterRun]:
    """Return the runs that are started or under way now."""
    statuses = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    with dg.DagsterInstance.from_config(str(project / ".dagster_home")) as instance:
        return list(instance.get_runs(dg.RunsFilter(statuses=statuses)))


def freshness(ui: str, asset: list[str], expected: str) -> str:
    """Return the freshness of an asset, as the catalog shows it, once it is as expected or after a while."""
    query = (
        "query Fresh($key: AssetKeyInput!) "
        "{ assetNodes(assetKeys: [$key]) { freshnessStatusInfo { freshnessStatus } } }"
    )
    body = json.dumps({"query": query, "variables": {"key": {"path": asset}}}).encode()
    request = urllib.request.Request(f"{ui}/graphql", body, {"Content-Type": "application/json"})
    until = time.monotonic() + 90
    while True:
        answer = json.load(urllib.request.urlopen(request, timeout=60))
        (node,) = answer["data"]["assetNodes"]
        status = str(node["freshnessStatusInfo"]["freshnessStatus"])
        if status == expected or time.monotonic() > until:
            return status
        time.sleep(1)


def test_a_fortnight_of_one_customer_is_a_backfill(analyst: Analyst, ui: str, project: Path) -> None:
    page = analyst.page
    open_dialog(page, ui, "records/daily/csv")
    selection = page.get_by_placeholder("No matching partitions")
    selection.fill("[2026-10-01...2026-10-14]")
    selection.press("Enter")
    page.get_by_text("14 partitions").first.wait_for()
    page.get_by_text("Config", exact=True).last.click()
    page.get_by_role("button", name="Add config").click()
    page.wait_for_function("() => document.querySelector('.CodeMirror')")
    analyst.write_config(f"ops: {{records_daily: {{config: {{scope: {NAME}}}}}}}\n")
    page.get_by_role("button", name="Save config").click()
    page.get_by_role("button", name="Launch backfill").click()
    keys = {f"exports/{ID}/records/daily/2026-10-{day:02}.csv" for day in range(1, 15)}
    until = time.monotonic() + STARTED_SECONDS
    with Ledger(f"sqlite:///{project}/app.db") as ledger:
        while (made := {job.file_key for job in ledger.find(dataset="records", limit=100)} & keys) != keys:
            assert time.monotonic() < until, made
            assert len(running(project)) <= 3  # the limit of one backfill
            time.sleep(0.5)
        assert {job.status for job in ledger.find(limit=100)} == {Status.COMPLETED}
    assert freshness(ui, ["records", "daily", "csv"], "HEALTHY") == "HEALTHY"
    page.goto(f"{ui}/runs?q[0]=tag:export_pipeline/scope={ID}", wait_until="domcontentloaded")
    page.get_by_text("Show runs within backfills").click()
    page.get_by_text(NAME).first.wait_for()


def test_a_window_that_is_late_is_shown_in_the_catalog(analyst: Analyst, ui: str, project: Path) -> None:
    """The newest file of a month is too old for a warning, and for a failure."""
    ages = {"pdf": timedelta(days=31, hours=2), "excel": timedelta(days=40)}
    with dg.DagsterInstance.from_config(str(project / ".dagster_home")) as instance:
        for format, age in ages.items():
            with freeze_time(datetime.now(UTC) - age):
                key = dg.AssetKey(["records", "monthly", format])
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2026-10-01"))
    assert freshness(ui, ["records", "monthly", "pdf"], "WARNING") == "WARNING"
    assert freshness(ui, ["records", "monthly", "excel"], "DEGRADED") == "DEGRADED"
    analyst.page.goto(f"{ui}/assets/records/monthly/excel", wait_until="domcontentloaded")
    analyst.page.get_by_text("Freshness policy").first.wait_for()
    analyst.page.get_by_text("Failed", exact=True).first.wait_for()


def test_a_renamed_column_is_the_reason_that_a_failed_run_shows(
    analyst: Analyst, ui: str, project: Path
) -> None:
    page = analyst.page
    page.goto(f"{ui}/assets/records/on_demand/csv", wait_until="domcontentloaded")
    analyst.open_launchpad()
    analyst.choose_partition("19999", f"{NAME} (")
    with closing(sqlite3.connect(project / "app.db")) as application:
        application.execute("ALTER TABLE bookkeeping_records RENAME COLUMN item_name TO title")
        try:
            analyst.materialize()
            reason = "column item_name: bookkeeping_records has no column 'item_name' (There are id,"
            page.get_by_text(reason).first.wait_for()
        finally:
            application.execute("ALTER TABLE bookkeeping_records RENAME COLUMN title TO item_name")
    page.get_by_text(f"partition: {NAME} (").first.wait_for()
    page.goto(f"{ui}/assets/records/on_demand/csv", wait_until="domcontentloaded")
    page.get_by_text("Failed in").first.wait_for()


def test_a_weekly_mail_of_a_whole_list_has_both_files(
    analyst: Analyst, project: Path, mails: MailServer
) -> None:
    """Made by a command, listed in Dagster, and run at once there."""
    asked = ["schedules", "create", "records", "--scope", NAME, "--cadence", "weekly", "--window", "none"]
    asked += ["--format", "excel,csv", "--to", "ann@example.org", "--json"]
    made = subprocess.run(
        [*COMMAND, *asked], cwd=project, env=own_environment(), capture_output=True, check=True
    )
    page = analyst.page
    page.get_by_text("Jobs", exact=True).first.wait_for()
    analyst.click(page.get_by_text("Search", exact=True))
    page.keyboard.type("run_schedule_now")
    analyst.click(page.get_by_text("run_schedule_now_job").first)
    analyst.click(page.get_by_role("tab", name="Launchpad"))
    page.wait_for_function("() => document.querySelector('.CodeMirror')")
    schedule = json.loads(made.stdout)["id"]
    analyst.write_config(f"ops: {{run_schedule_now: {{config: {{schedule_id: {schedule}}}}}}}\n")
    analyst.click(page.get_by_role("button", name="Launch Run"))
    until = time.monotonic() + STARTED_SECONDS
    while not mails.received["ann@example.org"]:
        assert time.monotonic() < until
        time.sleep(0.5)
    mail = mails.to("ann@example.org")
    assert NAME in str(mail["Subject"])
    files = {Path(str(part.get_filename())).suffix for part in mail.iter_attachments()}
    assert files == {".xlsx", ".csv"}
    assert analyst.clicks <= 4


def test_a_backfill_of_everything_is_refused_with_the_reason(analyst: Analyst, ui: str) -> None:
    page = analyst.page
    open_dialog(page, ui, "records/on_demand/csv")
    page.get_by_role("button", name="All", exact=True).last.click()
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_text("View error").first.click()
    page.get_by_text("20,002 partitions, and EXPORT_MAX_BACKFILL_PARTITIONS allows 100").first.wait_for()


def test_a_customer_cannot_be_invented(analyst: Analyst, ui: str) -> None:
    page = analyst.page
    open_dialog(page, ui, "records/on_demand/csv")
    page.get_by_text("Add a partition").first.click()
    page.get_by_placeholder("name", exact=True).last.fill("invented")
    page.get_by_role("button", name="Save", exact=True).last.click()
    page.get_by_text("was not added: scopes are those of the application").first.wait_for()
