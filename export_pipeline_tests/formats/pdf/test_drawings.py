"""Drawings: shapes where they belong, in their colours, with legend and scale bar."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf
import pyarrow as pa
import pypdfium2
import pytest
from PIL import Image

from export_pipeline.core.brand import Brand
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Drawing
from export_pipeline.core.tables import Table
from export_pipeline.formats.pdf import drawings, images
from export_pipeline_tests.formats.pdf.reading import check, layout, poppler, write

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("color", pa.string()),
        ("fill_opacity", pa.float64()),
        ("line_width", pa.float64()),
        ("points", pa.list_(pa.float64())),
    ]
)


def shapes(*rows: tuple[Any, ...], batch_rows: int = 2) -> Table:
    data = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)
    return Table.of(
        "shapes", tuple(Column(name, name, Kind.JSON) for name in SCHEMA.names), data, batch_rows=batch_rows
    )


def drawn(tmp_path: Path, drawing: Drawing) -> tuple[Path, pypdfium2.PdfImage]:
    path = tmp_path / "drawing.pdf"
    write(path, layout(drawings=(drawing,)))
    check(path)
    with pypdfium2.PdfDocument(path) as file:
        return path, file[1].render(scale=1).to_pil().convert("RGB")


def near(color: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(color, other, strict=True))


@pytest.mark.slow
def test_shapes_are_to_scale_and_in_their_colours(tmp_path: Path) -> None:
    drawing = Drawing(
        "Level 1",
        2000,
        1000,
        shapes(
            ("polygon", "#FF0000", 1.0, 1.0, [0, 0, 1000, 0, 1000, 1000, 0, 1000]),
            ("polygon", "#0000FF", 0.5, 1.0, [1000, 0, 2000, 0, 2000, 500, 1000, 500]),
            ("line", "#00FF00", 0.0, 8.0, [1000, 750, 2000, 750]),
            ("point", "#000000", 0.0, 6.0, [1500, 900]),
            ("none", "#00FFFF", 1.0, 90.0, [1200, 200]),
        ),
    )
    path, image = drawn(tmp_path, drawing)
    width, height = image.size
    assert (width, height) == (792, 612)
    red = [(x, y) for x in range(width) for y in range(height) if near(image.getpixel((x, y)), (255, 0, 0))]
    left, right = min(x for x, _ in red), max(x for x, _ in red)
    top, bottom = min(y for _, y in red), max(y for _, y in red)
    side = right - left
    assert abs(side - (bottom - top)) <= 2
    assert left >= 45
    assert near(image.getpixel((left + side * 3 // 2, top + side // 4)), (127, 127, 255))
    assert near(image.getpixel((left + side * 3 // 2, top + side * 3 // 4)), (0, 255, 0))
    assert near(image.getpixel((left + side * 3 // 2, top + round(side * 0.9))), (0, 0, 0))
    assert "Level 1" in poppler(path)


def test_a_shape_outside_the_plane_is_still_on_the_page(tmp_path: Path) -> None:
    drawing = Drawing(
        "Out", 100, 100, shapes(("polygon", "#FF0000", 1.0, 1.0, [-300, 0, 0, 0, 0, 300, -300, 300]))
    )
    _, image = drawn(tmp_path, drawing)
    red = [
        x
        for x in range(image.width)
        for y in range(0, image.height, 5)
        if near(image.getpixel((x, y)), (255, 0, 0))
    ]
    assert red
    assert min(red) >= 45


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("polygon", None, None, None, [])],
        [("polygon", "red", float("nan"), float("nan"), [1.0, float("nan"), 2.0, 3.0, 4.0])],
        [("line", "#12", 2.0, -1.0, None), ("unknown", "", -5.0, 1e9, [5.0, 5.0])],
        [("line", "#123456", 0.0, 1.0, [float("inf"), 0.0, 1e300, 2.0])],
    ],
)
def test_odd_shapes_do_not_stop_the_file(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    for width, height in ((0, 0), (100, float("nan")), (50, 80)):
        drawn(tmp_path, Drawing("Odd", width, height, shapes(*rows)))


@pytest.mark.slow
def test_long_legends_continue_and_keep_every_entry(tmp_path: Path) -> None:
    legend = tuple(
        (f"Condition {i:03d} שלום with a name long enough for two lines", "#3B82F6") for i in range(300)
    )
    legend = (*legend, ("word " * 5_000 + "end", "#000000"))
    path, _ = drawn(tmp_path, Drawing("L", 100, 200, shapes(), legend=legend))
    text = poppler(path)
    assert all(f"Condition {i:03d}" in text for i in range(300))
    assert text.count("word") == 5_000
    with pikepdf.open(path) as file:
        assert len(file.pages) > 3


@pytest.mark.parametrize(("units", "label"), [(18.75, "20 ft"), (0.01, "50,000 ft"), (9000.0, " in")])
def test_a_drawing_has_a_scale_bar(tmp_path: Path, units: float, label: str) -> None:
    path, _ = drawn(tmp_path, Drawing("S", 3000, 2000, shapes(), units_per_foot=units))
    assert label in poppler(path)


@pytest.mark.slow
def test_large_drawings_are_written_in_parts(tmp_path: Path) -> None:
    many = [
        ("polygon", "#3B82F6", 0.3, 1.0, [float(i), 0.0, i + 50.0, 900.0, i + 5.0, 30.0])
        for i in range(30_000)
    ]
    path, _ = drawn(tmp_path, Drawing("Many", 30_000, 1000, shapes(*many, batch_rows=5_000)))
    with pikepdf.open(path) as file:
        assert len(file.pages[1].obj.Contents) > 2


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_the_picture_of_the_plan_lies_beneath_the_shapes_to_the_same_scale(
    tmp_path: Path, format: str
) -> None:
    # A black stripe in the right half of the page; the polygon lies in the left half.
    picture = Image.new("RGB", (400, 200), "white")
    picture.paste("black", (200, 50, 400, 100))
    picture.save(tmp_path / "plan", format)
    square = ("polygon", "#FF0000", 1.0, 1.0, [0, 0, 500, 0, 500, 1000, 0, 1000])
    drawing = Drawing("Level 1", 2000, 1000, shapes(square), image=tmp_path / "plan")
    _, page = drawn(tmp_path, drawing)
    width = page.width
    left, right = 46, width - 46
    top = next(y for y in range(page.height) if page.getpixel((left + 20, y))[1] < 50)

    def at(x: float, y: float) -> tuple[int, int, int]:
        scale = (right - left) / 2000
        return page.getpixel((left + x * scale, top + y * scale))

    assert near(at(250, 400), (255, 0, 0))
    assert near(at(1500, 150), (255, 255, 255))
    pale = at(1500, 400)
    assert 90 < pale[0] < 140  # black, made paler
    assert near(at(1500, 700), (255, 255, 255))


def test_a_drawing_without_a_sound_picture_says_so(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"no picture")
    square = ("polygon", "#FF0000", 1.0, 1.0, [0, 0, 500, 0, 500, 1000, 0, 1000])
    for path in (tmp_path / "plan", tmp_path / "none"):
        drawing = Drawing("Level 1", 2000, 1000, shapes(square), image=path)
        done = write(tmp_path / "t.pdf", layout(drawings=(drawing,)))
        (warning,) = done.warnings
        assert warning.startswith("The picture of Level 1 cannot be printed: ")
        check(tmp_path / "t.pdf")


def test_many_pictures_that_cannot_be_printed_are_counted(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"no picture")
    plans = [Drawing(f"Level {n}", 20, 10, shapes(), image=tmp_path / "plan") for n in range(53)]
    *named, rest = write(tmp_path / "t.pdf", layout(drawings=tuple(plans))).warnings
    assert named[0] == "The picture of Level 0 cannot be printed: it is no PNG or JPEG image."
    assert (len(named), rest) == (50, "3 more pictures cannot be printed.")


@pytest.mark.parametrize(
    ("save", "size", "reason"),
    [
        ({"format": "EPS"}, (5, 5), "no PNG or JPEG"),
        ({"format": "TIFF"}, (5, 5), "no PNG or JPEG"),
        ({"format": "PNG"}, (2_100, 2_000), "2,100 x 2,000 pixels"),
        ({"format": "JPEG", "progressive": True}, (2_100, 2_000), "2,100 x 2,000 pixels"),
        ({"format": "JPEG"}, (2_100, 2_000), ""),
        (
            {
                "format": "MPO",
                "progressive": True,
                "save_all": True,
                "append_images": [Image.new("RGB", (9, 9))],
            },
            (2_100, 2_000),
            "2,100 x 2,000 pixels",
        ),
        ({"format": "PNG"}, (20_000, 20_000), "too many pixels"),
    ],
)
def test_a_picture_that_would_take_much_memory_or_another_program_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: dict[str, Any], size: tuple[int, int], reason: str
) -> None:
    monkeypatch.setattr(images, "_MAX_PIXELS", 4_000_000)
    monkeypatch.setattr(drawings, "_PICTURE_PIXELS", 800)
    path = tmp_path / "plan.png"
    if max(size) > 3_000:
        header = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
        checked = header + struct.pack(">I", zlib.crc32(header))
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + checked + b"\0\0\0\x09IDAT")
    else:
        Image.new("RGB", size).save(path, **save)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
    square = ("polygon", "#FF0000", 1.0, 1.0, [0, 0, 500, 0, 500, 1000, 0, 1000])
    done = write(
        tmp_path / "t.pdf", layout(drawings=(Drawing("Level 1", 2000, 1000, shapes(square), image=path),))
    )
    assert len(done.warnings) == bool(reason)
    assert reason in " ".join(done.warnings)
    check(tmp_path / "t.pdf")


def embedded(tmp_path: Path, picture: Image.Image, **save: Any) -> Image.Image:
    """Return a picture as it is in a file of which it is the logo."""
    data = BytesIO()
    picture.save(data, **save)
    write(tmp_path / "t.pdf", layout(brand=Brand(data.getvalue())))
    check(tmp_path / "t.pdf")
    with pypdfium2.PdfDocument(tmp_path / "t.pdf") as file:
        (one,) = [one for one in file[0].get_objects() if isinstance(one, pypdfium2.PdfImage)]
        return one.get_bitmap().to_pil().convert("RGB")


def test_a_picture_of_16_bits_keeps_its_grays(tmp_path: Path) -> None:
    gray = Image.new("I;16", (200, 100), 0x4000)
    assert near(embedded(tmp_path, gray, format="PNG").getpixel((50, 50)), (0x40, 0x40, 0x40))


def test_the_first_picture_of_a_camera_with_two_is_printed(tmp_path: Path) -> None:
    """Without all its pixels in memory: such a picture is decoded as small as it is printed."""
    red, blue = (Image.new("RGB", (2_000, 1_000), colour) for colour in ("red", "blue"))
    image = embedded(tmp_path, red, format="MPO", save_all=True, append_images=[blue])
    assert near(image.getpixel((50, 50)), (255, 0, 0))
