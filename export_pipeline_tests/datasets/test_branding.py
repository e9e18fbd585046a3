"""The brand that the settings name, on every layout."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from export_pipeline.datasets import branding
from export_pipeline.datasets.branding import lay_out
from export_pipeline_tests.takeoff_data import Application


def test_layouts_have_the_look_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "logo.png")
    monkeypatch.setenv("EXPORT_PDF_LOGO", str(tmp_path / "logo.png"))
    monkeypatch.setenv("EXPORT_PDF_COLOR", "#1B7F5C")
    monkeypatch.setenv("EXPORT_PDF_ADDRESS", "Acme Ltd | 1 Mill Lane |")
    monkeypatch.setenv("EXPORT_PDF_FOOTER", "Registered")
    app = Application(f"sqlite:///{tmp_path}/a.db")
    try:
        brand = lay_out(app.export(app.project())).brand
    finally:
        app.close()
    assert brand.logo == (tmp_path / "logo.png").read_bytes()
    assert (brand.color, brand.address, brand.footer) == (
        "#1B7F5C", ("Acme Ltd", "1 Mill Lane"), "Registered",
    )  # fmt: skip


def test_drawings_have_the_pictures_of_their_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images"
    (folder / "pages").mkdir(parents=True)
    for path in (folder / "pages" / "1.png", tmp_path / "secret.png"):
        Image.new("RGB", (4, 4)).save(path)
    app = Application(f"sqlite:///{tmp_path}/a.db")
    try:
        project = app.project()
        document, condition = app.document(project), app.condition(project, "Slab", "area")
        for number, key in enumerate(("pages/1.png", "../secret.png", "pages/none.png", None), 1):
            page = app.page(document, page_number=number, image_key=key)
            app.measurement(condition, page, 1.0)
        data = app.export(project, include_drawings=True)
        plain = lay_out(data)
        monkeypatch.setenv("EXPORT_PAGE_IMAGES", str(folder))
        made = lay_out(data)
    finally:
        app.close()
    assert [drawing.image for drawing in plain.drawings] == [None] * 4
    assert [drawing.image for drawing in made.drawings] == [folder / "pages" / "1.png", None, None, None]
    assert (plain.notes, made.notes) == ((), ("2 of 4 drawings have no picture in EXPORT_PAGE_IMAGES.",))


def test_a_key_that_no_folder_can_have_is_a_missing_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("EXPORT_PAGE_IMAGES", str(tmp_path))
    app = Application(f"sqlite:///{tmp_path}/a.db")
    keys = ("x" * 300 + ".png", "data:image/png;base64," + "A" * 5_000, "loop", "loop/1.png", "a.db/1.png")
    try:
        project = app.project()
        document, condition = app.document(project), app.condition(project, "Slab", "area")
        for number, key in enumerate(keys, 1):
            app.measurement(condition, app.page(document, page_number=number, image_key=key), 1.0)
        made = lay_out(app.export(project, include_drawings=True))
    finally:
        app.close()
    assert made.notes == ("5 of 5 drawings have no picture in EXPORT_PAGE_IMAGES.",)
    for key in ("a\0b", "\ud800x"):
        drawing = replace(made.drawings[0], image_key=key)
        assert branding._with_picture(drawing, tmp_path).image is None
