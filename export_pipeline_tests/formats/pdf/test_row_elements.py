"""Elements of rows, made as matrices of bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from export_pipeline.formats.pdf.row_elements import RowRun, cell_references, digits, object_streams


@pytest.mark.parametrize(
    "numbers", [[0], [7, 10], [9_999, 10_000], [1, 12, 123, 1_234, 12_345], [99_999_999, 100_000_000, 5]]
)
def test_numbers_have_blanks_before_them(numbers: list[int]) -> None:
    made = [line.tobytes() for line in digits(np.array(numbers))]
    width = len(str(max(numbers))) + 1
    assert made == [str(number).rjust(width).encode() for number in numbers]


def test_each_row_has_its_cells_and_each_cell_its_row_page_and_mark() -> None:
    runs = [
        RowRun(page=4, mark=3, rows=2, columns=2, table=9, first_row=98, first_cell=104),
        RowRun(page=5, mark=0, rows=1, columns=2, table=9, first_row=100, first_cell=108),
        RowRun(page=5, mark=2, rows=1, columns=1, table=10, first_row=101, first_cell=110),
    ]
    bodies: dict[int, str] = {}
    for stream in object_streams(runs, 3):
        places = [int(number) for number in stream.head.split()]
        assert places[::2] == [*range(stream.first, stream.first + stream.objects)]
        edges = [*places[1::2], len(stream.bodies)]
        for number, begin, end in zip(places[::2], edges, edges[1:], strict=False):
            bodies[number] = re.sub(r" +", " ", stream.bodies[begin:end].decode()).strip()
    assert bodies == {
        98: "<</S/TR/P 9 0 R/K[ 104 0 R 105 0 R]>>",
        99: "<</S/TR/P 9 0 R/K[ 106 0 R 107 0 R]>>",
        100: "<</S/TR/P 9 0 R/K[ 108 0 R 109 0 R]>>",
        101: "<</S/TR/P 10 0 R/K[ 110 0 R]>>",
        104: "<</S/TD/P 98 0 R/Pg 4 0 R/K 3>>",
        105: "<</S/TD/P 98 0 R/Pg 4 0 R/K 4>>",
        106: "<</S/TD/P 99 0 R/Pg 4 0 R/K 5>>",
        107: "<</S/TD/P 99 0 R/Pg 4 0 R/K 6>>",
        108: "<</S/TD/P 100 0 R/Pg 5 0 R/K 0>>",
        109: "<</S/TD/P 100 0 R/Pg 5 0 R/K 1>>",
        110: "<</S/TD/P 101 0 R/Pg 5 0 R/K 2>>",
    }
    assert [*cell_references(runs)] == [b" 104 0 R 105 0 R 106 0 R 107 0 R", b" 108 0 R 109 0 R", b" 110 0 R"]
