"""The brand that the settings name, on every layout."""

from pathlib import Path

import pytest
from PIL import Image

from export_pipeline.datasets.branded import lay_out
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
