"""`export-pipeline dev` as people have it: an analyst's path in Chromium to an Excel file, and its end by Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openpyxl
import pytest
import sqlalchemy as sa
from playwright.sync_api import Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import migrate
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.tools import require_tool

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
STARTED_SECONDS = 300
"""A busy machine takes minutes to start a code server and the first run."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Dev:
    """The running command.

    Attributes:
        ports: Those of Dagster's UI and of the HTTP service.
        out: What it prints.
        err: What it prints to stderr.
    """

    process: subprocess.Popen[bytes]
    ports: tuple[int, int]
    out: Path
    err: Path

    @property
    def url(self) -> str:
        """The address of Dagster's UI."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def answers(self) -> list[bool]:
        """Return for each port whether anything listens there."""
        answers = []
        for port in self.ports:
            with socket.socket() as probe:
                answers.append(probe.connect_ex(("127.0.0.1", port)) == 0)
        return answers


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Dagster's UI on a sample database, with its daemon and the HTTP service."""
    folder = tmp_path_factory.mktemp("dev")
    (folder / "demo_data").mkdir()
    url = f"sqlite:///{folder}/demo_data/applications.db"
    engine = sa.create_engine(url)
    bookkeeping.fill(engine)
    engine.dispose()
    migrate(url)
    with running_dev(folder) as dev:
        yield dev


COMMAND = [sys.executable, "-m", "export_pipeline.cli"]


def own_environment() -> dict[str, str]:
    """Return the environment of a person who has set nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("EXPORT_", "DAGSTER_"))}


@contextmanager
def running_dev(folder: Path) -> Iterator[Dev]:
    """Run the command in a folder."""
    port, api_port = free_ports(2)
    command = [*COMMAND, "dev", "--port", str(port)]
    environment = own_environment() | {"FRESHNESS_DAEMON_INTERVAL_SECONDS": "2"}
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [*command, "--api-port", str(api_port)], cwd=folder, env=environment, stdout=out, stderr=err
        )
    dev = Dev(process, (port, api_port), folder / "out", folder / "err")
    try:
        until = time.monotonic() + STARTED_SECONDS
        while not (all(dev.answers()) and _is_ready(dev)):
            assert process.poll() is None, dev.log
            assert time.monotonic() < until, dev.log
            time.sleep(0.5)
        yield dev
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(dev: Dev) -> bool:
    try:
        urllib.request.urlopen(f"{dev.url}/server_info", timeout=5).close()
    except OSError:
        return False
    return True


class Analyst:
    """A person at the browser whose clicks are counted."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def write_config(self, text: str) -> None:
        self.page.evaluate("text => document.querySelector('.CodeMirror').CodeMirror.setValue(text)", text)

    def open_launchpad(self) -> None:
        """Open the dialog that starts a run, from the page of an asset."""
        materialize = self.page.locator("button", has_text="Materialize").first
        self.click(materialize.locator("xpath=following::button[1]"))
        self.click(self.page.get_by_role("menuitem", name="Open launchpad"))
        self.page.get_by_text("No errors").wait_for()

    def choose_partition(self, typed: str, shown: str) -> None:
        """Choose a partition in the launchpad by a part of its name."""
        field, until = self.page.get_by_placeholder("Partition").first, time.monotonic() + STARTED_SECONDS
        while True:  # a click before the list has come opens none
            field.click()
            field.fill(typed)
            try:
                self.page.get_by_text(shown).last.click(timeout=5_000)
                break
            except PlaywrightTimeout:
                assert time.monotonic() < until
                field.blur()
        self.clicks += 2
        self.page.get_by_role("dialog").get_by_text(f"partition: {shown}").first.wait_for()

    def materialize(self) -> None:
        """Start the run that the launchpad shows, and wait for its page."""
        self.click(self.page.get_by_role("button", name="Materialize").last)
        self.page.wait_for_url("**/runs/**")

    def export_successful(self, file: Path) -> set[object]:
        """Export the successful records of the chosen partition, download the workbook, return its cells."""
        page = self.page
        self.write_config("ops: {records_on_demand: {config: {filters: {status: {in: [SUCCESSFUL]}}}}}\n")
        page.get_by_text("No errors").wait_for()
        self.materialize()
        link = page.locator("a[href$='/file']").first
        link.wait_for()
        with page.expect_download() as download:
            self.click(link)
        download.value.save_as(file)
        assert download.value.suggested_filename.endswith(".xlsx")
        (sheet,) = openpyxl.load_workbook(file).worksheets[:1]
        return {cell.value for row in sheet.iter_rows() for cell in row}


@pytest.fixture
def analyst(dev: Dev) -> Iterator[Analyst]:
    with at_home(dev.url) as analyst:
        yield analyst


@contextmanager
def at_home(base: str) -> Iterator[Analyst]:
    """An analyst who has opened the home page."""
    program = str(require_tool("chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(STARTED_SECONDS * 1000)
        page.goto(base, wait_until="domcontentloaded")
        yield Analyst(page)
        browser.close()


def test_an_analyst_gets_a_named_customers_excel_file_in_eight_clicks(
    analyst: Analyst, tmp_path: Path
) -> None:
    page = analyst.page
    page.get_by_text("Jobs", exact=True).first.wait_for()  # the definitions are loaded
    analyst.click(page.get_by_text("Search", exact=True))
    page.keyboard.type("records excel")
    analyst.click(page.get_by_text("records / on_demand / excel").first)

    # Before any run the page says what can be chosen, with an example.
    page.get_by_text("Net earnings less cost of goods").first.wait_for()
    page.get_by_text("records_on_demand:").first.wait_for()
    analyst.open_launchpad()
    config = page.evaluate("() => document.querySelector('.CodeMirror').CodeMirror.getValue()")
    assert "columns: []" in config
    assert "csv_bom" not in config
    analyst.choose_partition("corner", "Corner Shop (8d2efaa9")
    cells = analyst.export_successful(tmp_path / "export.xlsx")
    assert analyst.clicks <= 8
    assert "SUCCESSFUL" in cells or "Successful" in cells
    assert not {"RETURN_CLOSED", "Return closed"} & cells


def test_it_ends_with_one_line_and_with_all_that_it_started(dev: Dev) -> None:
    """The last test here: nothing runs after it."""
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(240) == 130
    assert dev.err.read_text(errors="replace").strip().splitlines()[-1] == "Error: Interrupted."
    assert "Traceback" not in dev.log
    until = time.monotonic() + 20
    while any(dev.answers()):
        assert time.monotonic() < until
        time.sleep(0.1)
