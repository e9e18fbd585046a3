"""Dagster with many scopes: pages of the UI in Chromium, their queries, and ticks of sensors.

    .venv/bin/python benchmarks/scopes.py                      # windows only, as for thousands of scopes
    .venv/bin/python benchmarks/scopes.py --by-scope           # each scope and window a partition
    .venv/bin/python benchmarks/scopes.py --by-scope --scopes 88 # just below EXPORT_MAX_PARTITIONS
    .venv/bin/python benchmarks/scopes.py --postgresql           # application and Dagster on PostgreSQL

It fills a bookkeeping application with scopes of a record each, makes a project with three years of days,
lets the sensor add the partitions, adds materializations of five days, and opens pages as an analyst would.
It prints, for each page, the time until the last answer of GraphQL, the slowest query, and the bytes that
came. Needs Chromium.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from playwright.sync_api import Page, Request, sync_playwright

from export_pipeline.project import SAMPLES
from export_pipeline.project.new_project import write_project
from export_pipeline_tests.services.postgres import postgres_server
from export_pipeline_tests.system.customers import fill

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
MAX_BYTES = 8 << 30
LONGEST_MS = 120_000
QUIET_SECONDS = 1.5
"""A page that asks nothing for so long is complete."""
assert "records" in SAMPLES


def make_project(folder: Path, by_scope: bool) -> None:
    """Write a project with the dataset `records` since three years ago."""
    write_project(folder)
    shutil.rmtree(folder / "defs" / "example", ignore_errors=True)
    text = (ROOT / "export_pipeline" / "defs" / "records" / "defs.yaml").read_text()
    text = text.replace('start: "2026-01-01"', 'start: "2023-11-01"')
    text = text.replace("  formats:", f"  partition_windows_by_scope: {str(by_scope).lower()}\n  formats:", 1)
    (folder / "defs" / "records").mkdir(parents=True)
    (folder / "defs" / "records" / "defs.yaml").write_text(text)


def _limit_memory() -> None:
    """Let a page of millions of partitions fail, and not fill the machine's memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))


@contextmanager
def webserver(folder: Path) -> Iterator[str]:
    """Start the webserver alone, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [BIN / "dagster-webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "webserver.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, preexec_fn=_limit_memory, start_new_session=True
        )
        try:
            base = f"http://127.0.0.1:{port}"
            while True:
                assert process.poll() is None, (folder / "webserver.log").read_text()
                try:
                    urllib.request.urlopen(f"{base}/server_info", timeout=5)
                    break
                except OSError:
                    time.sleep(0.5)
            yield base
        finally:
            process.terminate()
            process.wait(30)


def tick(folder: Path) -> None:
    """Measure ticks of the sensor of scopes, and the partition of a scope whose name has changed."""
    import dagster as dg

    from export_pipeline.definitions import defs
    from export_pipeline.orchestration.partitions import add_scope

    loaded = defs()
    repository = loaded.get_repository_def()
    sensor = loaded.resolve_sensor_def("records_scopes_sensor")
    source = {"source": (loaded.resources or {})["source"]}
    with dg.DagsterInstance.get() as instance:
        for name in ("first tick", "tick without changes", "tick without changes"):
            began = time.perf_counter(), time.process_time()
            with dg.build_sensor_context(
                instance=instance, repository_def=repository, resources=source
            ) as context:
                requests = sensor.evaluate_tick(context).dynamic_partitions_requests or []
            for request in requests:
                instance.add_dynamic_partitions("records_scopes", list(request.partition_keys))
            show(name, began)
        last = instance.get_dynamic_partitions("records_scopes")[-1]
        began = time.perf_counter(), time.process_time()
        assert add_scope(instance, "records", last.replace("Customer", "Renamed")) == last
        show("partition of a renamed scope", began)


def fill_events(url: str, by_scope: bool) -> None:
    """Copy a materialization to five days of each scope, as a schedule leaves them."""
    import dagster as dg

    days = [f"2026-11-{day:02}" for day in range(20, 25)]
    with dg.DagsterInstance.get() as instance:
        keys = instance.get_dynamic_partitions("records_scopes")
        asset = dg.AssetKey(["records", "daily", "csv"])
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="A-PARTITION"))
    partitions = [f"{key}|{day}" if by_scope else day for day in days for key in keys]
    engine = sa.create_engine(url)
    table = sa.Table("event_logs", sa.MetaData(), autoload_with=engine)
    is_new = table.c.partition == "A-PARTITION"
    with engine.begin() as connection:
        row = dict(connection.execute(sa.select(table).where(is_new)).mappings().one())
        del row["id"]
        event = row["event"]
        for first in range(0, len(partitions), 10_000):
            rows = [
                row | {"event": event.replace("A-PARTITION", one), "partition": one}
                for one in partitions[first : first + 10_000]
            ]
            connection.execute(sa.insert(table), rows)
        connection.execute(sa.delete(table).where(is_new))
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()


def show(name: str, began: tuple[float, float]) -> None:
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    print(f"| {name} | {1000 * wall:,.0f} ms | {1000 * cpu:,.0f} ms of CPU |", flush=True)


class Watch:
    """The answers of GraphQL that a page has got."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.answers: list[tuple[str, float, int]] = []
        self.last, self.pending = 0.0, 0
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", lambda request: self._end(request, failed=True))

    def _begin(self, request: Request) -> None:
        if "/graphql" in request.url:
            self.pending += 1
            self.last = time.perf_counter()

    def _end(self, request: Request, failed: bool = False) -> None:
        if "/graphql" in request.url:
            self.pending -= 1
            self.last = time.perf_counter()
            if not failed:
                operation = (request.post_data_json or {}).get("operationName", "?")
                size = request.sizes()["responseBodySize"]
                self.answers.append((operation, request.timing["responseEnd"], size))

    def measure(self, name: str, act: Callable[[Page], None]) -> None:
        self.answers.clear()
        self.pending = 0
        began = self.last = time.perf_counter()
        try:
            act(self.page)
            while not self.answers or self.pending > 0 or time.perf_counter() - self.last < QUIET_SECONDS:
                self.page.wait_for_timeout(100)
                if time.perf_counter() - began > LONGEST_MS / 1000:
                    raise TimeoutError(f"not done after {LONGEST_MS / 1000:.0f} s")
        except Exception as error:
            print(f"| {name} | failed: {str(error).splitlines()[0]} | | |", flush=True)
            return
        seconds = self.last - began
        slowest = max(self.answers, key=lambda one: one[1], default=("none", 0.0, 0))
        total = sum(size for *_, size in self.answers)
        print(
            f"| {name} | {seconds:,.1f} s | {slowest[0]} {slowest[1]:,.0f} ms | {total / 1000:,.0f} kB |",
            flush=True,
        )


def open_pages(base: str, scope: int, pictures: Path | None) -> None:
    asset = "/assets/records/daily/csv"
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(LONGEST_MS)
        watch = Watch(page)

        def goto(path: str) -> Callable[[Page], None]:
            return lambda page: page.goto(base + path, wait_until="domcontentloaded") and None

        def dialog(page: Page) -> None:
            page.locator("button", has_text="Materialize").first.click()
            page.get_by_text("Partition selection").first.wait_for()

        def launchpad(page: Page) -> None:
            button = page.locator("button", has_text="Materialize").first
            button.locator("xpath=following::button[1]").click()
            page.get_by_role("menuitem", name="Open launchpad").click()
            page.get_by_text("No errors").wait_for()

        def all_partitions(page: Page) -> None:
            for button in page.get_by_role("dialog").get_by_role("button", name="All", exact=True).all():
                button.click()

        def launch(page: Page) -> None:
            page.get_by_role("button", name="Launch backfill").click()
            page.get_by_text("View error").first.click()
            page.get_by_text("EXPORT_MAX_BACKFILL_PARTITIONS allows").first.wait_for()

        def partition(page: Page) -> None:
            page.get_by_placeholder("Partition").first.click()
            page.keyboard.type(f"{scope:05}")
            page.get_by_text(f"Customer {scope:05}").last.wait_for()

        steps: list[tuple[str, Callable[[Page], None]]] = [
            ("(the first page, with the code server's start)", goto("/locations")),
            ("catalog", goto("/assets")),
            ("asset of a cadence", goto(asset)),
            ("its partitions", goto(f"{asset}?view=partitions")),
            ("its dialog to materialize", dialog),
            ("all its partitions chosen", all_partitions),
            ("a backfill of them launched", launch),
            ("asset on demand", goto("/assets/records/on_demand/excel")),
            ("its partitions ", goto("/assets/records/on_demand/excel?view=partitions")),
            ("its launchpad", launchpad),
            ("a scope searched there", partition),
        ]
        for number, (name, act) in enumerate(steps):
            watch.measure(name, act)
            if pictures:
                page.screenshot(path=pictures / f"{number}.png")
        browser.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--scopes", type=int, default=20_000)
    arguments.add_argument("--by-scope", action="store_true", help="each scope and window is a partition")
    arguments.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    arguments.add_argument("--pictures", type=Path, help="a folder for pictures of the pages")
    given = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "project"
        make_project(folder, given.by_scope)
        url = f"sqlite:///{folder}/app.db"
        home = folder / "home"
        instance = f"sqlite:///{home}/history/runs/index.db"
        environment: dict[str, Any] = {"DAGSTER_HOME": str(home), "EXPORT_MAX_BACKFILL_PARTITIONS": "50"}
        if given.postgresql:
            server = stack.enter_context(postgres_server())
            url, instance = (stack.enter_context(server.database()) for _ in range(2))
            environment["DAGSTER_POSTGRES_URL"] = instance
        fill(url, given.scopes)
        environment["EXPORT_SOURCE_URL"] = url
        os.environ.update(environment)
        os.chdir(folder)
        from export_pipeline.orchestration.instance import prepare_home

        prepare_home()
        tick(folder)
        fill_events(instance, given.by_scope)
        if given.pictures:
            given.pictures.mkdir(exist_ok=True)
        open_pages(
            stack.enter_context(webserver(folder)),
            given.scopes - 1,
            given.pictures and given.pictures.absolute(),
        )


if __name__ == "__main__":
    main()
