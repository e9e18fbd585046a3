"""Takes the pictures of docs/images from a running UI: `make demo`, `make dev`, then

    .venv/bin/python docs/take_screenshots.py http://127.0.0.1:3000

Needs Chromium, and pdftoppm (poppler-utils) for the overview.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
ASSET = "/assets/takeoff/on_demand/pdf"
TABLE = "/assets/records/on_demand/excel"
REQUEST = """ops:
  records_on_demand:
    config:
      filters:
        status: {in: [SUCCESSFUL, RETURN_CLOSED]}
        sale_date: {range: {from: 2026-10-01}}
      columns: [sale_date, item_name, profit_cents]
"""
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def graph(page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 1180})
    page.get_by_text("application", exact=True).first.wait_for()
    page.mouse.move(500, 900)
    page.mouse.down()
    page.mouse.move(500, 700, steps=8)  # the on-demand exports lie below the middle
    page.mouse.up()


def launchpad(page: Page) -> None:
    page.locator("button", has_text="Materialize").first.locator("xpath=following::button[1]").click()
    page.get_by_text("Open launchpad").click()
    page.get_by_text("No errors").wait_for()


def table_launchpad(page: Page) -> None:
    """With an account chosen, and a request in the editor: the help beside it follows the cursor."""
    launchpad(page)
    page.get_by_placeholder("Partition").first.click()
    page.keyboard.type("corner")
    page.get_by_text("Corner Shop (8d2efaa9").last.click()
    page.get_by_text("partition: Corner Shop (8d2efaa9").wait_for()
    page.evaluate(
        """text => {
            const editor = document.querySelector('.CodeMirror').CodeMirror;
            editor.setValue(text);
            editor.focus();
            editor.setCursor({line: 4, ch: 10});
        }""",
        REQUEST,
    )
    page.get_by_text("No errors").wait_for()


def ordinary_project(page: Page) -> None:
    page.get_by_text("f611b71d").first.click()  # the sample school; its id is always the same


def short_paths(page: Page) -> None:
    """Cut the folders of this machine from the paths in a picture."""
    page.evaluate(
        """() => {
            const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (texts.nextNode()) {
                const node = texts.currentNode;
                node.nodeValue = node.nodeValue.replace(/^\\/.*\\/store\\/exports/, '…/store/exports');
            }
        }"""
    )


def nothing(page: Page) -> None:
    pass


def checks(page: Page) -> None:
    page.get_by_text("totals", exact=True).first.wait_for()
    page.wait_for_timeout(4000)


def automation(page: Page) -> None:
    page.get_by_text("materializations_sensor").first.wait_for()
    page.wait_for_timeout(15_000)  # each row asks for its own state


def newest_file(page: Page) -> None:
    page.get_by_text("shell command").first.wait_for(state="attached")
    short_paths(page)


SHOTS: dict[str, tuple[str, Callable[[Page], None]]] = {
    "datasets": ("/locations/export_pipeline/assets", nothing),
    "asset-graph": ("/locations/export_pipeline/asset-groups/takeoff/lineage", graph),
    "launchpad": (f"{ASSET}?view=events", launchpad),
    "materialization": (f"{ASSET}?view=events", ordinary_project),
    "launchpad-table": (f"{TABLE}?view=events", table_launchpad),
    "materialization-table": (f"{TABLE}?view=events", newest_file),
    "checks": (f"{ASSET}?view=checks", checks),
    "automation": ("/automation", automation),
}


def main(base: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        for name, (path, prepare) in SHOTS.items():
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(base + path, wait_until="domcontentloaded")
            page.wait_for_timeout(5000)  # the UI loads its data after the page
            prepare(page)
            page.wait_for_timeout(2500)
            page.screenshot(path=IMAGES / f"{name}.png")
            page.close()
        browser.close()
    overview()


def overview() -> None:
    """The README's picture: the graph, and a project, a table and a drawing out of `make demo`'s PDFs."""
    project = max(Path("demo_files", "takeoff").glob("*.pdf"), key=lambda file: file.stat().st_size)
    (table,) = Path("demo_files", "records").glob("*.pdf")
    with tempfile.TemporaryDirectory() as folder:
        pages = []
        for pdf, number in ((project, 1), (table, 1), (project, _pages(project) - 12)):
            target = Path(folder) / f"page{len(pages)}"
            command = ["pdftoppm", "-png", "-r", "60", "-singlefile", "-f", str(number), "-l", str(number)]
            subprocess.run([*command, str(pdf), str(target)], check=True)
            pages.append(f"{target}.png")
        strip = _stacked([Image.open(page).convert("RGB") for page in pages])
    graph = Image.open(IMAGES / "asset-graph.png").convert("RGB")
    parts = [
        image.resize((image.width * 900 // image.height, 900), Image.Resampling.LANCZOS)
        for image in (graph, strip)
    ]
    picture = Image.new("RGB", (sum(part.width for part in parts), 900), "white")
    picture.paste(parts[0], (0, 0))
    picture.paste(parts[1], (parts[0].width, 0))
    picture = picture.resize((1600, 900 * 1600 // picture.width), Image.Resampling.LANCZOS)
    picture.save(IMAGES / "overview.png", optimize=True)


def _stacked(images: list[Image.Image]) -> Image.Image:
    """One image below the other, with a margin."""
    width, height = max(image.width for image in images), sum(image.height + 12 for image in images)
    stack = Image.new("RGB", (width + 12, height), "white")
    top = 6
    for image in images:
        stack.paste(image, (6, top))
        top += image.height + 12
    return stack


def _pages(pdf: Path) -> int:
    info = subprocess.run(["pdfinfo", str(pdf)], check=True, capture_output=True, text=True).stdout
    return int(next(line.split()[1] for line in info.splitlines() if line.startswith("Pages")))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
