"""SVG logos are drawn in bounded memory and show nothing but themselves."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from export_pipeline.logo import read_logo

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {}>{}</svg>'


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ('viewBox="0 0 300 100"', (1200, 400)),
        ('viewBox="0,0,300,100" width="100%"', (1200, 400)),
        ('width="3in" height="72pt"', (1200, 400)),
        ('width="400mm" height="20cm" viewBox="0 0 1 500"', (1200, 600)),
    ],
)
def test_a_logo_has_the_shape_that_its_file_names(tmp_path: Path, size: str, shape: tuple[int, int]) -> None:
    path = tmp_path / "logo.svg"
    path.write_text(SVG.format(size, '<path id="a" d="M0 0h1v1z"/><use xlink:href="#a"/>'))
    with Image.open(BytesIO(read_logo(path))) as drawn:
        assert drawn.size == shape


@pytest.mark.parametrize(
    ("size", "content", "reason"),
    [
        ('viewBox="0 0 1 500"', "", "more than 20 times"),
        ('viewBox="0 0 500 1"', "", "more than 20 times"),
        ('viewBox="0 0 10 10" width="1" height="500"', "", "more than 20 times"),
        ('viewBox="0 0 1e9 1e9"', "", "pixels"),
        ('width="0" height="0"', "", "0 x 0 pixels"),
        ('viewBox="0 0 nan nan"', "", "pixels"),
        ('viewBox="0 0 a b"', "", "could not convert"),
        ("", "", "no viewBox"),
        ('viewBox="0 0 9 9"', '<image href="{}" width="9" height="9"/>', "secret.png"),
        ('viewBox="0 0 9 9"', '<image xlink:href="file://{}" width="9" height="9"/>', "secret.png"),
        ('viewBox="0 0 9 9"', '<image href="https://a.test/b.png"/>', "a.test"),
        ('viewBox="0 0 9 9"', "<g>", "mismatched tag"),
    ],
)
def test_a_logo_that_would_take_much_memory_or_show_another_file_is_refused(
    tmp_path: Path, size: str, content: str, reason: str
) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    path = tmp_path / "logo.svg"
    path.write_text(SVG.format(size, content.format(tmp_path / "secret.png")))
    with pytest.raises(ValueError, match="is not a sound SVG image") as refused:
        read_logo(path)
    assert reason in str(refused.value)
