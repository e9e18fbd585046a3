"""Text is cleaned and guarded by column type, and everything that was changed is counted."""

import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.sanitize import clean_table, clean_text, guard_formulas
from export_pipeline.core.tables import Table

ILLEGAL = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\u202d\u202e]"
TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=20)


@pytest.mark.slow
@given(TEXTS)
def test_clean_replaces_exactly_the_illegal_characters(texts: list[str | None]) -> None:
    cleaned, cells = clean_text(pa.array(texts, pa.string()))
    expected = [None if text is None else re.sub(ILLEGAL, "\ufffd", text) for text in texts]
    assert cleaned.to_pylist() == expected
    assert cells == sum(a != b for a, b in zip(texts, expected, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "=1",
        "+1",
        "-1",
        "@a",
        "\t",
        "\r",
        "\n",
        "\x00",
        "＝1",
        "＋1",
        "－1",
        "＠a",
        " =1",
        "\n=1",
        "\u00a0=1",
        "\u3000-1",
        "\ufeff=1",
        "\u200b \u2067@x",
        "\x0b=1",
        "\x85=1",
    ],
)
def test_text_that_looks_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert guard_formulas(pa.array([text]))[0].to_pylist() == ["'" + text]


@pytest.mark.parametrize("text", ["", "a", "1-2", "'=1", '4" slab', "a=b", "0", "é", "‒1", "(-1)", " x"])
def test_other_text_gets_no_apostrophe(text: str) -> None:
    assert guard_formulas(pa.array([text]))[0].to_pylist() == [text]


def test_only_text_columns_are_touched_and_each_is_counted() -> None:
    columns = (Column("a", "A", Kind.TEXT), Column("n", "N", Kind.FLOAT), Column("u", "U", Kind.ENUM))
    data = pa.table({"a": ["x\x01", "ok", None], "n": [-1.0, 2.0, None], "u": ["\x02", "\x03", "="]})
    changed: Counter[tuple[str, str]] = Counter()
    result = clean_table(Table.of("t", columns, data), changed).arrow()
    assert result.to_pydict() == {
        "a": ["x\ufffd", "ok", None],
        "n": [-1.0, 2.0, None],
        "u": ["\ufffd", "\ufffd", "="],
    }
    assert {column: count for (_, column), count in changed.items()} == {"t.a": 1, "t.u": 2}


def test_a_table_with_nothing_to_replace_comes_back_as_it_is() -> None:
    columns = (Column("a", "A", Kind.TEXT), Column("n", "N", Kind.INTEGER))
    rows = pa.table({"a": ["x\t\r\n", "é \u2028 \ufffc", None, ""], "n": [1, 2, 3, 4]})
    table = Table.of("t", columns, rows)
    changed: Counter[tuple[str, str]] = Counter()
    assert clean_table(table, changed) is table
    other = Table.of("t", columns, rows.slice(1).append_column("b", [["\x7f", "\u202c", "\ud7ff"]]))
    assert clean_table(other, changed) is other
    assert not changed


@pytest.mark.parametrize(
    "character", ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff", "\u202d", "\u202e"]
)
def test_one_illegal_character_anywhere_is_found(character: str) -> None:
    texts = [f"text {number}" for number in range(3000)]
    texts[1500] += character
    changed: Counter[tuple[str, str]] = Counter()
    table = Table.of("t", (Column("a", "A", Kind.TEXT),), pa.table({"a": texts}), 1000)
    texts[1500] = "text 1500\ufffd"
    assert clean_table(table, changed).arrow()["a"].to_pylist() == texts
    assert sum(changed.values()) == 1


@pytest.mark.slow
def test_guard_looks_at_every_character_that_may_stand_before_a_sign() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    rule = r"^[\s\x00\x0b\x1c-\x1f\x{85}\p{Z}\p{Cf}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|^[\t\r\n\x00]"
    for texts in (characters, [character + "=1" for character in characters]):
        array = pa.array([None, *texts])[1:]
        expected = pa.compute.match_substring_regex(array, rule)
        guarded, cells = guard_formulas(array)
        assert cells == pa.compute.sum(expected).as_py()
        assert pa.compute.equal(pa.compute.not_equal(guarded, array), expected).to_pylist().count(False) == 0


def test_reading_a_table_twice_counts_once() -> None:
    column = Column("a", "A", Kind.TEXT)
    made = Table.of("t", [column], pa.table({"a": ["\x00", "b", "\u202e"]}), 1)
    changed = Counter({("characters that no file format can hold, replaced by U+FFFD", "t.a"): 1})
    cleaned = clean_table(made, changed)
    for _ in range(2):
        assert [cell for batch in cleaned.open() for cell in batch.column(0).to_pylist()] == [
            "\ufffd",
            "b",
            "\ufffd",
        ]
    assert list(changed.values()) == [3]


def test_guard_keeps_the_cells_around_and_missing_ones_also_in_parts_of_arrays() -> None:
    texts = [None, "=1", "", "a", None, "@b", "é", "+1", None]
    for start in range(len(texts) + 1):
        guarded, cells = guard_formulas(pa.array(texts, pa.string()).slice(start))
        expected = [f"'{text}" if text and text[0] in "=+-@" else text for text in texts[start:]]
        guarded.validate(full=True)
        assert guarded.to_pylist() == expected
        assert cells == sum(text is not None and text.startswith("'") for text in expected)
