"""An outline has its levels as another program reads them, and no more entries than readers bear."""

from pathlib import Path

import pikepdf

from export_pipeline.formats.pdf.objects import PdfFile
from export_pipeline.formats.pdf.outline import Outline


def written(path: Path, outline: Outline, page: int, pdf: PdfFile) -> None:
    pdf.page(page, (pdf.stream(b""),), (595, 842), [], b"")
    pdf.put(b"<<>>", pdf.resources)
    pdf.finish(outline.write(pdf), b"")


def test_entries_have_their_level_page_and_height(tmp_path: Path) -> None:
    with (path := tmp_path / "outline.pdf").open("wb") as out:
        pdf, outline = PdfFile(out), Outline()
        page = pdf.reserve()
        outline.add("Größe (m²)", page, 800)
        chapter = outline.add("Details", page, 700)
        group = outline.add("One", page, 600.5, chapter)
        outline.add("Within", page, 500, group)
        outline.add("Two", page, 400, chapter)
        outline.add("Drawings", page, 300)
        written(path, outline, page, pdf)
    with pikepdf.open(path) as file, file.open_outline() as read:
        assert [item.title for item in read.root] == ["Größe (m²)", "Details", "Drawings"]
        assert [item.title for item in read.root[1].children] == ["One", "Two"]
        assert [item.title for item in read.root[1].children[0].children] == ["Within"]
        destination = read.root[1].children[0].destination
        assert destination is not None
        assert float(destination[3]) == 600.5  # type: ignore[index, arg-type]
        assert str(file.Root.PageMode) == "/UseOutlines"


def test_ten_thousand_entries_are_enough(tmp_path: Path) -> None:
    outline = Outline()
    added = [outline.add("x", 1, 0) for _ in range(10_001)]
    assert added[9_999] is not None
    assert added[10_000] is None


def test_a_document_without_entries_has_no_outline(tmp_path: Path) -> None:
    with (path := tmp_path / "none.pdf").open("wb") as out:
        pdf = PdfFile(out)
        written(path, Outline(), pdf.reserve(), pdf)
    with pikepdf.open(path) as file:
        assert "/Outlines" not in file.Root
