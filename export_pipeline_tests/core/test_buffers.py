"""Scans of string buffers, against the cells themselves, of whole arrays and of parts of them."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.buffers import (
    build_strings,
    bytes_of,
    data_of,
    find_cells,
    first_bytes,
    offsets_of,
    pack_mask,
)

TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=12)


@st.composite
def parts(draw: st.DrawFn) -> pa.Array:
    """A part of a string array."""
    texts = draw(TEXTS)
    start = draw(st.integers(0, len(texts)))
    return pa.array(texts, pa.string()).slice(start, draw(st.integers(0, len(texts) - start)))


@pytest.mark.slow
@given(parts(), st.text('a",\n\x01é', min_size=1).map(str.encode), st.sampled_from([0, 0x20]))
def test_cells_with_finds_the_cells_that_hold_a_byte(array: pa.Array, mark: bytes, below: int) -> None:
    cells = find_cells(array, mark, below)
    expected = [any(b in mark or b < below for b in (text or "").encode()) for text in array.to_pylist()]
    assert (cells is None and not any(expected)) or list(cells) == expected  # type: ignore[arg-type]


@pytest.mark.slow
@given(parts())
def test_bytes_of_all_cells_and_the_first_byte_of_each_are_found(array: pa.Array) -> None:
    cells = [(text or "").encode() for text in array.to_pylist()]
    assert bytes(data_of(array)) == b"".join(cells) == bytes_of(array).tobytes()
    assert list(first_bytes(array)) == [cell[0] if cell else ord("a") for cell in cells]
    offsets = offsets_of(array)
    assert build_strings(bytes_of(array), offsets - offsets[0], array).to_pylist() == array.to_pylist()


@pytest.mark.slow
@given(st.lists(st.booleans()))
def test_marks_become_a_boolean_array(marks: list[bool]) -> None:
    import numpy as np

    assert pack_mask(np.array(marks, bool)).to_pylist() == marks


def test_cells_with_counts_over_thousands_of_bytes() -> None:
    texts = ["x" * (n * 7 % 130) + '"' * (n % 3) + "y" * (n * 5 % 71) for n in range(300)]
    for start in (0, 1, 63, 64, 65):
        cells = find_cells(pa.array(texts).slice(start), b'"')
        assert cells is not None
        assert list(cells) == [n % 3 > 0 for n in range(start, 300)]
