import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.formats.excel.names import (
    column_letters,
    quote_sheet,
    sheet_names,
    utf16_head,
    utf16_length,
)


def names(*titles: str) -> list[str]:
    return sheet_names([(title, "") for title in titles])


def test_illegal_characters_become_underscores() -> None:
    assert names("a:b\\c/d?e*f[g]h") == ["a_b_c_d_e_f_g_h"]


def test_names_are_unique_ignoring_case() -> None:
    assert names("Slab", "SLAB", "slab", "Slab (2)") == ["Slab", "SLAB (2)", "slab (3)", "Slab (2) (2)"]


def test_long_names_end_in_an_ellipsis_and_keep_their_number() -> None:
    long = "Reinforced concrete foundation wall"
    first, second = names(long, long)
    assert first == "Reinforced concrete foundation…"
    assert second == "Reinforced concrete founda… (2)"
    assert len(first) <= 31
    assert len(second) <= 31


def test_a_part_keeps_its_suffix() -> None:
    name = sheet_names([("x" * 40, " (part 12)")])[0]
    assert name.endswith("… (part 12)")
    assert len(name) == 31


def test_empty_reserved_and_quoted_names() -> None:
    assert names("", "  ", "'", "History", "'a'", "HISTORY ") == [
        "Sheet",
        "Sheet (2)",
        "Sheet (3)",
        "History_",
        "a",
        "HISTORY_ (2)",
    ]


def test_codes_that_programs_decode_do_not_survive_in_names() -> None:
    assert not re.search("_x[0-9A-Fa-f]{4}_", names("_x0041_x0042_")[0])


def test_five_thousand_equal_names_stay_unique() -> None:
    made = names(*["Condition"] * 5000)
    assert len({name.casefold() for name in made}) == 5000


@pytest.mark.slow
@given(st.lists(st.text(max_size=60), max_size=30))
def test_any_titles_give_legal_unique_names(titles: list[str]) -> None:
    made = names(*titles)
    assert len(made) == len(titles)
    assert len({name.casefold() for name in made}) == len(made)
    for name in made:
        assert name
        assert utf16_length(name) <= 31
        assert not re.search(r"[:\\/?*\[\]\x00-\x1f]", name)
        assert name.strip("'") == name
        assert name.casefold() != "history"


@given(st.text(max_size=50), st.integers(0, 60))
def test_a_head_is_the_longest_that_fits_and_tears_nothing(text: str, units: int) -> None:
    head = utf16_head(text, units)
    assert text.startswith(head)
    assert utf16_length(head) <= units
    assert head == text or utf16_length(head) >= units - 1


def test_columns_have_letters_and_sheet_names_quotes() -> None:
    assert [column_letters(i) for i in (0, 25, 26, 701, 702, 16_383)] == ["A", "Z", "AA", "ZZ", "AAA", "XFD"]
    assert quote_sheet("it's") == "'it''s'"
