"""Pictures of plan pages in S3: fetched for the drawing, missing or unreachable ones are warnings."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pikepdf
import pytest
from PIL import Image

from export_pipeline.core.layout import Layout
from export_pipeline.datasets.branding import lay_out
from export_pipeline.formats.registry import FORMATS
from export_pipeline.store import s3_pictures
from export_pipeline_tests.takeoff_data import Application

Asked = list[str]


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(out, "PNG")
    return out.getvalue()


@contextmanager
def server(objects: dict[str, bytes]) -> Iterator[tuple[str, Asked]]:
    """A server that gives these objects by path as S3 does, and the paths that were asked for."""
    asked: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = objects.get(self.path)
            self.send_response(404 if body is None else 200)
            body = b"<Error><Code>NoSuchKey</Code></Error>" if body is None else body
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}", asked
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """A server with one picture, which the settings name."""
    with server({"/plans/project/pages/1.png": picture()}) as (url, asked):
        for name, value in {
            "EXPORT_PAGE_IMAGES": "s3://plans/project/",
            "EXPORT_S3_ENDPOINT_URL": url,
            "EXPORT_S3_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }.items():
            monkeypatch.setenv(name, value)
        yield asked


def laid_out(folder: Path, *keys: str) -> Layout:
    """The layout of a project with a drawn page for each key."""
    app = Application(f"sqlite:///{folder}/a.db")
    try:
        project = app.project()
        document, condition = app.document(project), app.condition(project, "Slab", "area")
        for number, key in enumerate(keys, 1):
            app.measurement(condition, app.page(document, page_number=number, image_key=key), 1.0)
        return lay_out(app.export(project, include_drawings=True))
    finally:
        app.close()


def warnings(layout: Layout, path: Path) -> list[str]:
    """Print the layout; the warnings about pictures."""
    pdf = FORMATS["pdf"]
    with path.open("wb") as out:
        rendered = pdf.render(layout, out, pdf.options_of({}))
    return [one for one in rendered.warnings if "picture" in one]


def images(path: Path) -> int:
    with pikepdf.open(path) as file:
        return sum(
            isinstance(one, pikepdf.Stream) and one.get("/Subtype") == "/Image" for one in file.objects
        )


def test_a_picture_is_fetched_when_the_drawing_is_printed(s3: Asked, tmp_path: Path) -> None:
    layout = laid_out(tmp_path, "/pages/1.png", "pages/2.png")
    assert s3 == []
    printed = warnings(layout, tmp_path / "t.pdf")
    assert s3 == ["/plans/project/pages/1.png", "/plans/project/pages/2.png"]
    assert len(printed) == 1
    assert printed[0].endswith("cannot be printed: s3://plans/project/pages/2.png is not there.")
    assert images(tmp_path / "t.pdf") == 1


def test_a_key_that_leads_out_of_the_prefix_is_not_asked_for(s3: Asked, tmp_path: Path) -> None:
    layout = laid_out(tmp_path, "../secret.png", "a/../../b.png", "./1.png", "a//b.png")
    printed = warnings(layout, tmp_path / "t.pdf")
    assert s3 == []
    assert printed == ["4 of 4 drawings have no picture in EXPORT_PAGE_IMAGES."]


def test_a_picture_that_is_too_large_is_not_read(
    s3: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_pictures, "MAX_PICTURE_BYTES", 10)
    printed = warnings(laid_out(tmp_path, "pages/1.png"), tmp_path / "t.pdf")
    assert len(printed) == 1
    assert printed[0].endswith("cannot be printed: it has more than 10 bytes.")


def test_a_server_that_is_away_is_asked_once_and_costs_no_export(
    s3: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server({}) as (gone, _):
        monkeypatch.setenv("EXPORT_S3_ENDPOINT_URL", gone)
    clients: list[object] = []
    new_client = s3_pictures.S3Pictures._client.func  # type: ignore[attr-defined]
    counted = property(lambda self: clients.append(self) or new_client(self))
    monkeypatch.setattr(s3_pictures.S3Pictures, "_client", counted)
    printed = warnings(laid_out(tmp_path, "1.png", "2.png", "3.png"), tmp_path / "t.pdf")
    assert len(clients) == 1
    assert len(printed) == 3
    assert all(
        "s3://plans/project (EXPORT_PAGE_IMAGES) cannot be asked: Could not connect" in one for one in printed
    )
    assert images(tmp_path / "t.pdf") == 0
