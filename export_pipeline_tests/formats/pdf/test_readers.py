"""The text of each page, as readers find it that have no code in common: poppler, PDFium and pypdf."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pypdf
import pypdfium2
import pytest

from export_pipeline.core.layout import Section
from export_pipeline_tests.formats.pdf.reading import layout, poppler, texts, write
from export_pipeline_tests.formats.pdf.test_tagged import layouts

HOSTILE = (
    "العربية جدار الأساس", "السَّلَامُ عَلَيْكُمْ", "עברית קיר 12 (א)", "混凝土基礎 コンクリート", "한국어 𠮷野家", "café o\u0308",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽", "soft\u00adhyphen", "zero\u200bwidth", "ﬁn ﬂat office", "a\u00a0b", "हिन्दी क्षत्रिय", "ไทย กำลัง",
    "x² ½ №", "non\u2011breaking", "(a \\ b)", "\x07 \ue000",
)  # fmt: skip


def letters(text: str) -> Counter[str]:
    """The characters of a page, without those that print nothing, whose order and ligatures readers take as they like."""
    whole = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text))
    return Counter(
        character
        for character in re.sub("[\u034f\ufe00-\ufe0f\U000e0000-\U000e0fff]", "", whole)
        if not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf")
    )


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("name", [*layouts(), "hostile texts"])
def test_every_reader_finds_the_same_text_on_each_page(tmp_path: Path, name: str, tagged: bool) -> None:
    hostile = layout(Section("t", "T", texts(HOSTILE), counts=True))
    path = tmp_path / "t.pdf"
    write(path, {**layouts(), "hostile texts": hostile}[name], {"tagged": tagged})
    expected = [letters(page) for page in poppler(path, "-raw").split("\f")[:-1]]
    with pypdfium2.PdfDocument(path) as file:
        assert [letters(page.get_textpage().get_text_bounded()) for page in file] == expected
    assert [letters(page.extract_text()) for page in pypdf.PdfReader(path).pages] == expected
    if name == "hostile texts":
        (page,) = expected
        assert letters("".join(HOSTILE[:-1])) - page == Counter()
