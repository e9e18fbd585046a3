"""The pages of links in a real browser: one click to the file, in light and dark, by keyboard."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from websockets.sync.client import ClientConnection, connect

from export_pipeline_tests.api.service import CONTENT, Running, start
from export_pipeline_tests.api.test_links import link_to
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.tools import require_tool

pytestmark = pytest.mark.slow
ARABIC = "تقرير المبيعات.csv"


@pytest.fixture
def database(sqlite_database: Any) -> Any:
    """One kind of ledger is enough."""
    return sqlite_database


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    program = str(require_tool("chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_one_click_leads_from_the_link_to_the_file(
    service: Running, accounts: list[str], browser: Browser, tmp_path: Path
) -> None:
    made, url = link_to(service, accounts[0])
    service.complete(made, name=ARABIC)
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.goto(url)
    assert page.get_by_role("heading", level=1).inner_text() == ARABIC
    page.keyboard.press("Tab")  # the only thing to press
    with page.expect_download() as expected:
        page.keyboard.press("Enter")
    assert expected.value.suggested_filename == ARABIC
    expected.value.save_as(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [error for error in errors if "favicon" not in error and "404" not in error] == []


def test_a_page_is_dark_for_browsers_that_prefer_it(
    service: Running, accounts: list[str], browser: Browser
) -> None:
    made, url = link_to(service, accounts[0])
    service.complete(made)
    brightness = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(url)
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(
            int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(",")
        )
        page.close()
    assert brightness["light"] > 600
    assert brightness["dark"] < 150


def test_the_page_of_an_export_in_the_making_becomes_that_of_the_file(
    service: Running, accounts: list[str], browser: Browser
) -> None:
    made, url = link_to(service, accounts[0])
    page = browser.new_page()
    page.goto(url)
    assert page.get_by_role("status").is_visible()
    start(service.ledger, made)
    service.complete(made)
    page.get_by_role("link", name="Download").wait_for(timeout=15_000)


class Firefox:
    """A Firefox without a window, driven as the WebDriver BiDi specification says."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._ids = connection, count(1)
        self.call("session.new", capabilities={})
        self._page = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        id = next(self._ids)
        self._connection.send(json.dumps({"id": id, "method": method, "params": parameters}))
        while True:
            reply = json.loads(self._connection.recv(60))
            if reply.get("id") == id:
                assert reply["type"] == "success", reply
                return dict(reply["result"])

    def open(self, url: str) -> None:
        self.call("browsingContext.navigate", context=self._page, url=url, wait="complete")

    def click(self, css: str) -> None:
        locator = {"type": "css", "value": css}
        (node,) = self.call("browsingContext.locateNodes", context=self._page, locator=locator)["nodes"]
        origin = {"type": "element", "element": {"sharedId": node["sharedId"]}}
        actions = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": actions}
        self.call("input.performActions", context=self._page, actions=[mouse])


@contextmanager
def firefox(folder: Path, downloads: Path) -> Iterator[Firefox]:
    """Firefox with a new profile, which saves downloads without a question."""
    program = str(require_tool("firefox-esr"))
    preferences = {
        "browser.download.folderList": 2,
        "browser.download.dir": str(downloads),
        "browser.helperApps.neverAsk.saveToDisk": "text/csv",
    }
    (folder / "user.js").write_text(
        "".join(
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()
        )
    )
    (port,) = free_ports(1)
    command = [
        program,
        "--headless",
        "--no-remote",
        "--profile",
        str(folder),
        "--remote-debugging-port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until, connection = time.monotonic() + 90, None
            while connection is None:
                assert time.monotonic() < until
                with suppress(OSError):
                    connection = connect(f"ws://127.0.0.1:{port}/session", open_timeout=30, max_size=None)
                time.sleep(0.1)
            with connection:
                yield Firefox(connection)
        finally:
            process.kill()


def test_one_click_leads_to_the_file_in_firefox_too(
    service: Running, accounts: list[str], tmp_path: Path
) -> None:
    made, url = link_to(service, accounts[0])
    service.complete(made, name=ARABIC)
    profile, downloads = tmp_path / "profile", tmp_path / "downloads"
    profile.mkdir()
    downloads.mkdir()
    with firefox(profile, downloads) as browser:
        browser.open(url)
        browser.click("a[href$='/file']")
        until = time.monotonic() + 60
        while not (downloads / ARABIC).exists() or (downloads / ARABIC).read_bytes() != CONTENT:
            assert time.monotonic() < until, list(downloads.iterdir())
            time.sleep(0.1)
    assert [path.name for path in downloads.iterdir()] == [ARABIC]
