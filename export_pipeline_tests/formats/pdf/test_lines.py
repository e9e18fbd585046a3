"""Breaking text into lines and shaping it: nothing is lost, nothing is wider than its column."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.formats.pdf.font import NEWLINE
from export_pipeline.formats.pdf.shaping import _any_levels, bidi_levels
from export_pipeline.formats.pdf.typeset import Typesetter
from export_pipeline_tests.formats.pdf.reading import strings

SETTER = Typesetter()
WORDS = st.text(st.sampled_from("abc W\n 中文。（） é"), max_size=60)


def lines(cells: list[str], limit: int) -> tuple[list[list[str]], list[list[int]]]:
    """The lines of cells no wider than `limit` EM units, as text, and their widths."""
    glyphs = SETTER.encode(strings(cells), "Cells")
    broken = SETTER.wrap(glyphs, 1000, limit)
    texts = [SETTER.regular.glyphs[cid].text for cid in broken.cids.tolist()]
    bounds, first = broken.bounds.tolist(), broken.first.tolist()
    joined = ["".join(texts[low:high]) for low, high in pairwise(bounds)]
    each = list(pairwise(first))
    return [joined[low:high] for low, high in each], [broken.widths[low:high].tolist() for low, high in each]


@given(st.lists(WORDS, max_size=8), st.integers(1000, 9000))
def test_lines_hold_every_character_and_fit(cells: list[str], limit: int) -> None:
    broken, widths = lines(cells, limit)
    assert len(broken) == len(cells)
    for cell, parts, wide in zip(cells, broken, widths, strict=True):
        assert "".join(parts) == cell.replace("\n", "")
        assert len(parts) >= max(1, cell.removesuffix("\n").count("\n") + 1)
        for part, width in zip(parts, wide, strict=True):
            assert width <= limit or len(part.strip()) == 1


@pytest.mark.slow
@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(1000, 9000))
def test_lines_of_a_batch_are_those_of_its_cells(cells: list[str], limit: int) -> None:
    assert lines(cells, limit)[0] == [lines([cell], limit)[0][0] for cell in cells]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("aaa bbb ccc", 4500, ["aaa bbb ", "ccc"]),
        ("aaa    bbb", 2000, ["aaa    ", "bbb"]),
        ("aaaaaaaa", 2300, ["aaaa", "aaaa"]),
        ("one\n\ntwo\r\nthree\rfour\u2028five\n", 9000, ["one", "", "two", "three", "four", "five"]),
        ("\n", 9000, [""]),
        ("", 9000, [""]),
        ("中文。中文", 2000, ["中", "文。", "中文"]),
        ("（中文", 1000, ["（", "中", "文"]),
    ],
)
def test_lines_end_between_words(text: str, limit: int, expected: list[str]) -> None:
    assert lines([text], limit)[0][0] == expected


def test_a_word_longer_than_its_column_goes_over_many_lines() -> None:
    parts = lines(["x" * 40_000], 5000)[0][0]
    assert "".join(parts) == "x" * 40_000
    assert len({len(part) for part in parts[:-1]}) == 1


def test_right_to_left_lines_are_broken_in_reading_order_and_shown_in_visual_order() -> None:
    broken, _ = lines(["אחת שתים שלוש"], 2800)
    assert [line.strip()[::-1] for line in broken[0]] == ["אחת", "שתים", "שלוש"]


def test_numbers_and_latin_inside_right_to_left_text_stay_readable() -> None:
    broken, _ = lines(["שלום 123 abc (כן)"], 90_000)
    assert broken[0] == [")ןכ( abc 123 םולש".translate(str.maketrans("()", ")("))]


@pytest.mark.slow
@settings(max_examples=500)
@given(st.text(st.sampled_from("אבשاลلميَُِ 0123٤۵.,:/!?()\"';-%$abc"), max_size=12))
def test_the_short_way_to_levels_leads_where_the_long_one_does(text: str) -> None:
    assert bidi_levels(text) == _any_levels(text)


def test_joiners_marks_and_isolates_do_not_upset_the_order() -> None:
    base, levels = bidi_levels("א\u2066ב\u2069\u200dג")
    assert base == 1
    assert set(levels) == {1}


@pytest.mark.parametrize(
    "text",
    ["हिन्दी", "क्षत्रिय", "ที่นี่", "e\u0301", "ẹ\u0302", "தமிழ்", "\u1112\u1161\u11ab", "👩\u200d🚀", "🇩🇪"],
)
def test_clusters_are_one_glyph_that_says_all_its_characters(text: str) -> None:
    glyphs = SETTER.encode(pa.array([text]), "Cells")
    made = [SETTER.regular.glyphs[cid] for cid in glyphs.cids.tolist()]
    assert "".join(glyph.text for glyph in made) == text
    assert len(made) < len(text)
    assert all(glyph.parts for glyph in made)


def test_stacks_of_marks_too_tall_for_one_glyph_stand_alone() -> None:
    text = "Z" + "\u0335\u0321" * 300
    cids = SETTER.encode(pa.array([text]), "Cells").cids.tolist()
    assert "".join(SETTER.regular.glyphs[cid].text for cid in cids) == text


@pytest.mark.slow
@settings(max_examples=200)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_has_glyphs_that_say_it(cells: list[str]) -> None:
    glyphs = SETTER.encode(strings(cells), "Cells")
    assert glyphs.starts.size == len(cells) + 1
    font = SETTER.regular
    control = "\N{REPLACEMENT CHARACTER}"
    for cell, low, high in zip(cells, glyphs.starts.tolist(), glyphs.starts.tolist()[1:], strict=False):
        text = "".join(font.glyphs[cid].text for cid in glyphs.cids[low:high].tolist() if cid != NEWLINE)
        if not bidi_levels(cell)[0] and text.replace(control, "") == text:
            kept = cell.translate(dict.fromkeys(map(ord, "\n\r\x0b\x0c\x85\u2028\u2029")))
            if not any(level for piece in cell.splitlines() for level in bidi_levels(piece)[1]):
                assert text == kept
    assert np.all(np.diff(glyphs.starts) >= 0)
