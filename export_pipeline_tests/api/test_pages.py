"""The pages of links in a real browser: one click to the file, in light and dark, by keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from export_pipeline_tests.api.service import CONTENT, Running, start
from export_pipeline_tests.api.test_links import link_to
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
