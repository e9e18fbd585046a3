"""Reading a PDF back: what it counts, and what it notices in a file that is not sound."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pikepdf
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Drawing, Section
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.pdf import readback
from export_pipeline.formats.pdf.sums import PrintedSum
from export_pipeline_tests.formats.pdf.reading import layout, write

COLUMNS = (
    Column("qty (m²) /#", "Quantity", Kind.DECIMAL, 4),
    Column("cost", "Cost", Kind.MONEY, currency="Rs. "),
    Column("share", "Share", Kind.FLOAT),
)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    count = 300
    data = {
        COLUMNS[0].name: pa.array([Decimal(i - 20) / 16 for i in range(count)], pa.decimal128(38, 10)),
        "cost": pa.array([None if i % 7 == 0 else Decimal(-i * 1000) for i in range(count)], pa.decimal128(18, 4)),
        "share": pa.array([float("nan") if i == 5 else i * 1e-9 for i in range(count)], pa.float64()),
    }  # fmt: skip
    table = Table.of("t", COLUMNS, pa.table(data))
    path = tmp_path / "sound.pdf"
    sums = tuple(column.name for column in COLUMNS)
    before = Section("b", "Summary", table, sums=sums)
    write(path, layout(before, Section("t", "Rows", table, counts=True, sums=sums)), {"tagged": False})
    return path


@pytest.fixture
def tagged(sound: Path, tmp_path: Path) -> Path:
    """The same rows in a tagged file, whose objects are packed."""
    count = 300
    table = Table.of(
        "t", (Column("n", "N", Kind.INTEGER),), pa.table({"n": pa.array(range(count), pa.int64())})
    )
    path = tmp_path / "tagged.pdf"
    write(path, layout(Section("t", "Rows", table, counts=True, sums=("n",))), {"tagged": True})
    return path


def test_a_tagged_file_is_read_as_any_other(tagged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = FileFacts(300, {"n": 300 * 299 / 2})
    assert readback.read_back(tagged) == expected
    monkeypatch.setattr(readback, "_PARSED_PAGES", 0)
    assert readback.read_back(tagged) == expected


@pytest.mark.parametrize("parsed", [0, 1_000])
def test_damage_to_a_tagged_file_is_a_problem(
    tagged: Path, tmp_path: Path, parsed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "_PARSED_PAGES", parsed)
    path, data = tmp_path / "changed.pdf", tagged.read_bytes()
    for seed in range(20):
        chance = random.Random(seed)
        changed = bytearray(data)
        for _ in range(chance.choice((1, 20, 300))):
            changed[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(changed)
        facts = readback.read_back(path)
        assert facts.problems or facts == FileFacts(300, {"n": 300 * 299 / 2})


@pytest.mark.parametrize("parsed", [0, 1_000])
@pytest.mark.parametrize("kind", [b"/Length1 ", b"/Type/ObjStm", b"/Type/XRef/"])
def test_damage_to_what_no_page_text_needs_is_a_problem_too(
    tagged: Path, tmp_path: Path, kind: bytes, parsed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fonts, packed objects and their cross-references are decoded in files of any length."""
    monkeypatch.setattr(readback, "_PARSED_PAGES", parsed)
    changed = bytearray(tagged.read_bytes())
    place = changed.index(b"stream\n", changed.index(kind)) + len(b"stream\n")
    end = changed.index(b"endstream", place)
    for at in range(place + 4, end - 4, 29):
        changed[at] ^= 0xFF
    path = tmp_path / "changed.pdf"
    path.write_bytes(changed)
    assert readback.read_back(path).problems


def test_an_operator_that_cannot_be_parsed_is_a_problem_of_a_short_file(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.pdf"
    for damage in (b"(unclosed", b"<<", b"<0G>", b"]"):
        with pikepdf.open(sound) as file:
            content = file.pages[1].obj.Contents
            part = content if isinstance(content, pikepdf.Stream) else content[0]
            part.write(part.read_bytes() + b"\n" + damage)
            file.save(path)
        assert readback.read_back(path).problems, damage


def test_a_packed_object_that_cannot_be_parsed_is_a_problem_of_a_short_file(
    tagged: Path, tmp_path: Path
) -> None:
    data, path = tagged.read_bytes(), tmp_path / "changed.pdf"
    head = re.search(rb"/Type/ObjStm[^>]*?/Length (\d+)|/Length (\d+)/Type/ObjStm", data)
    assert head
    length = int(head[1] or head[2])
    start = data.index(b"stream\n", head.start()) + len(b"stream\n")
    broken = zlib.compress(zlib.decompress(data[start : start + length]).replace(b"<</S/", b"<(/S/", 1), 9)
    # Shorter than it was: the rest is an object's end, and blanks up to the next one.
    place = data.index(b"endobj", start) - len(b"\nendstream\n")
    declared = re.sub(
        rb"/Length \d+", b"/Length %0*d" % (len(str(length)), len(broken)), data[head.start() : start]
    )
    filled = declared + broken + b"\nendstream\n"
    path.write_bytes(
        data[: head.start()] + filled + b" " * (place + 11 - head.start() - len(filled)) + data[place + 11 :]
    )
    assert path.stat().st_size == len(data)
    assert readback.read_back(path).problems


def test_a_moved_stream_of_cross_references_is_a_problem_of_a_long_file(
    tagged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "_PARSED_PAGES", 0)
    path = tmp_path / "changed.pdf"
    path.write_bytes(re.sub(rb"/XRefStm \d", b"/XRefStm 9", tagged.read_bytes()))
    assert readback.read_back(path).problems


@pytest.mark.usefixtures("as_a_long_file")
def test_every_damaged_entry_of_the_table_is_a_problem_of_a_long_file(tagged: Path, tmp_path: Path) -> None:
    data = tagged.read_bytes()
    path = tmp_path / "changed.pdf"
    entries = [match.start() for match in re.finditer(rb"\d{10} 00000 n\r\n", data)]
    for place in entries[:: len(entries) // 12]:
        for at in (4, 8, 17, 19):  # 17: n becomes f, a free entry
            changed = bytearray(data)
            changed[place + at] ^= 8
            path.write_bytes(changed)
            assert readback.read_back(path).problems


@pytest.mark.parametrize("parsed", [0, 1_000])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_damaged_picture_is_a_problem(
    tmp_path: Path, format: str, parsed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "_PARSED_PAGES", parsed)
    Image.effect_noise((80, 80), 50).save(tmp_path / "plan", format)
    shapes = Table.of(
        "shapes",
        (),
        pa.table({"kind": pa.array([], pa.string()), "points": pa.array([], pa.list_(pa.float64()))}),
    )
    path = tmp_path / "t.pdf"
    write(path, layout(drawings=(Drawing("Level 1", 80, 80, shapes, image=tmp_path / "plan"),)))
    assert readback.read_back(path).problems == ()
    data = path.read_bytes()
    changed = bytearray(data)
    place = changed.index(b"endstream", changed.index(b"/Subtype/Image"))
    changed[place - 8 : place - 1] = b"damaged"
    path.write_bytes(changed)
    assert readback.read_back(path).problems
    if parsed and format == "JPEG":  # which is decoded: that its ends are there is not enough
        place = data.index(b"\xff\xc0", data.index(b"/Subtype/Image"))
        changed = bytearray(data)
        changed[place + 1] = 0xFE
        path.write_bytes(changed)
        assert readback.read_back(path).problems


_DAMAGES: dict[str, tuple[bytes, bytes]] = {
    "header": (rb"\A%PDF", rb"%PXF"),
    "version": (rb"\A%PDF-1", rb"%PDF-x"),
    "filter": (rb"/FlateDecode", rb"/FlateDecodX"),
    "key of the filter": (rb"/Filter/", rb"/Filtex/"),
    "page type": (rb"/Type/Page/Parent", rb"/Type/Pagx/Parent"),
    "key of the page type": (rb"/Type/Page/Parent", rb"/Typx/Page/Parent"),
    "type of the tree": (rb"/Type/Page/Parent", rb"/Type/Tree/Parent"),
    "type of a group of pages": (rb"/Type/Pages/", rb"/Type/Pagec/"),
    "reference": (rb"(/Contents\[[^\]]*)R\]", rb"\g<1>5]"),
    "size": (rb"/MediaBox\[0 0 6", rb"/MediaBox[0 0 /"),
    "three numbers": (rb"/MediaBox\[0 0", rb"/MediaBox[ 0 "),
    "no width": (rb"/MediaBox\[0 0 \d{3}", rb"/MediaBox[0 0 000"),
    "no height": (rb"(/MediaBox\[0 0 \d+) \d{3}\b", rb"\1 0.0"),
    "key of the size": (rb"/MediaBox", rb"/MedioBox"),
    "key of the font program": (rb"/FontFile2", rb"/FontFilex"),
    "font program of another object": (rb"/FontFile2 \d+", rb"/FontFile2 1"),
}
"""Each replaces one thing in a file by something that is as long, if need be with blanks at its end."""


@pytest.mark.parametrize("parsed", [0, 1_000])
@pytest.mark.parametrize("damage", _DAMAGES)
def test_what_a_viewer_needs_is_checked_in_files_of_any_length(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, parsed: int
) -> None:
    monkeypatch.setattr(readback, "_PARSED_PAGES", parsed)
    data, path = sound.read_bytes(), tmp_path / "changed.pdf"
    pattern, replacement = _DAMAGES[damage]
    places = list(re.finditer(pattern, data))
    assert places
    for place in places:
        changed = place.expand(replacement).ljust(len(place[0]))
        path.write_bytes(data[: place.start()] + changed + data[place.start() + len(changed) :])
        assert readback.read_back(path).problems, place


@pytest.mark.parametrize("parsed", [0, 1_000])
@pytest.mark.parametrize("program", [b"null", b"<</Length 4>>stream\nfont\nendstream"])
def test_a_font_without_its_program_is_a_problem(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bytes, parsed: int
) -> None:
    monkeypatch.setattr(readback, "_PARSED_PAGES", parsed)
    data, path = sound.read_bytes(), tmp_path / "changed.pdf"
    fonts = list(re.finditer(rb"\n(\d+ 0 obj\n)<<[^>]*/Length1 .*?\nendobj\n", data, re.DOTALL))
    assert fonts
    for font in fonts:
        changed = (b"\n" + font[1] + program + b"\nendobj\n").ljust(len(font[0]))
        path.write_bytes(data[: font.start()] + changed + data[font.end() :])
        assert readback.read_back(path).problems


@pytest.mark.parametrize(
    ("key", "twice"),
    [
        (rb"/Encoding/Identity-H", rb"/BaseFont/X"),
        (rb"/ItalicAngle \d", rb"/Ascent 1"),
        (rb"/Lang\([^)]*\)", b"/Type/X"),
    ],
)
def test_a_key_that_stands_twice_is_a_problem_of_a_short_file(
    sound: Path, tmp_path: Path, key: bytes, twice: bytes
) -> None:
    data, path = sound.read_bytes(), tmp_path / "changed.pdf"
    place = re.search(key, data)
    assert place
    path.write_bytes(data[: place.start()] + twice.ljust(len(place[0])) + data[place.end() :])
    assert any("duplicated key" in problem for problem in readback.read_back(path).problems)


def test_rows_and_sums_of_the_counting_section(sound: Path) -> None:
    facts = readback.read_back(sound)
    assert facts.rows == 300
    assert facts.problems == ()
    assert facts.totals[COLUMNS[0].name] == sum((i - 20) / 16 for i in range(300))
    assert facts.totals["cost"] == -sum(i * 1000 for i in range(300) if i % 7)
    assert facts.totals["share"] == pytest.approx(sum(i * 1e-9 for i in range(300) if i != 5), rel=1e-12)


def test_numbers_broken_over_lines_and_pages_are_still_one_number(tmp_path: Path) -> None:
    column = Column("n", "N", Kind.DECIMAL)
    table = Table.of(
        "t",
        (column, Column("text", "Text", Kind.TEXT)),
        pa.table({"n": pa.array([Decimal("1" * 30)], pa.decimal128(38, 0)), "text": ["word " * 9000]}),
    )
    path = tmp_path / "split.pdf"
    write(path, layout(Section("t", "T", table, counts=True, sums=("n",))))
    assert readback.read_back(path) == FileFacts(1, {"n": float("1" * 30)})


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_file_cut_short_is_a_problem(sound: Path, tmp_path: Path, share: float) -> None:
    data = sound.read_bytes()
    cut = tmp_path / "cut.pdf"
    cut.write_bytes(data[: int(len(data) * share)])
    assert readback.read_back(cut).problems


def test_a_file_that_is_no_pdf_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "no.pdf"
    path.write_bytes(b"Page not found")
    assert readback.read_back(path).problems[0].startswith("not a readable PDF")


def test_a_missing_unicode_map_and_a_missing_font_are_problems(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.pdf"
    with pikepdf.open(sound) as file:
        font = file.pages[0].obj.Resources.Font["/F1"]
        del font["/ToUnicode"]
        del font.DescendantFonts[0].FontDescriptor["/FontFile2"]
        file.save(path)
    problems = " ".join(readback.read_back(path).problems)
    assert "ToUnicode" in problems
    assert "not embedded" in problems


def test_rows_taken_out_are_missed(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "fewer.pdf"
    with pikepdf.open(sound) as file:
        del file.pages[-1]
        file.save(path)
    assert readback.read_back(path).rows < 300


def damaged(data: bytes) -> Iterator[bytes]:
    """Yield the bytes with one, some and many of them changed, anywhere."""
    for seed in range(60):
        chance = random.Random(seed)
        changed = bytearray(data)
        for _ in range(chance.choice((1, 20, 300))):
            changed[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(changed)


@pytest.mark.slow
def test_bytes_changed_anywhere_never_stop_the_reader(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.pdf"
    for changed in damaged(sound.read_bytes()):
        path.write_bytes(changed)
        facts = readback.read_back(path)
        assert facts.problems or facts.rows == 300


@pytest.fixture
def as_a_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any length are read as those of thousands of pages are."""
    monkeypatch.setattr(readback, "_PARSED_PAGES", 0)


def test_a_long_file_is_read_as_a_short_one_is(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = readback.read_back(sound)
    monkeypatch.setattr(readback, "_PARSED_PAGES", 0)
    monkeypatch.setattr(pikepdf, "open", None)
    assert readback.read_back(sound) == expected


@pytest.mark.usefixtures("as_a_long_file")
def test_a_long_file_written_by_another_program_is_read_too(sound: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.pdf"
    with pikepdf.open(sound) as file:
        file.save(packed, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    facts = readback.read_back(packed)
    assert (facts.rows, facts.problems) == (300, ())


@pytest.mark.usefixtures("as_a_long_file")
def test_damage_to_a_long_file_is_a_problem(sound: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "changed.pdf", sound.read_bytes()
    for changed in damaged(data):
        path.write_bytes(changed)
        facts = readback.read_back(path)
        assert facts.problems or facts.rows == 300
    for share in (0.3, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * share)])
        assert readback.read_back(path).problems
    # All objects seem to be far behind the end.
    path.write_bytes(re.sub(rb"\d{10} 00000 n", b"9999999999 00000 n", data))
    assert readback.read_back(path).problems


@pytest.mark.slow
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20)
        | st.none()
    ),
    st.sampled_from(["", "$", "Rs. ", "€", "kr"]),
)
def test_printed_numbers_are_added_exactly(values: list[Decimal | None], currency: str) -> None:
    unicode = {code: chr(code) for code in range(0x20, 0x3000)}
    printed = PrintedSum()
    for value in values:
        text = "N/A" if value is None else f"{'-' if value < 0 else ''}{currency}{abs(value):,}"
        printed.add(True, text.encode("utf-16-be").hex().upper().encode(), unicode)
    assert printed.total() == sum(value for value in values if value is not None)
    assert printed.unmapped == 0


def test_numbers_with_exponents_and_codes_without_meaning() -> None:
    unicode = {ord(character): character for character in "0123456789.e-+,"}
    printed = PrintedSum()
    for text in ("1e-07", "-2.5e+3", "1,000", "\u2603"):
        printed.add(True, text.encode("utf-16-be").hex().upper().encode(), unicode)
    assert printed.total() == Decimal("-1499.9999999")
    assert printed.unmapped == 1
