"""Durations as JSON has them."""

import pyarrow as pa
import pytest

from export_pipeline.tabular.columns import to_iso_durations


@pytest.mark.parametrize(
    ("clock", "iso"),
    [
        ("0:00:00", "P0DT00H00M00S"),
        ("26:03:04", "P1DT02H03M04S"),
        ("-1:02:03", "-P0DT01H02M03S"),
        ("2516:10:59", "P104DT20H10M59S"),
        (None, None),
        ("", ""),
        ("1:2:3", "1:2:3"),
        ("9" * 15 + ":00:00", "P41666666666666DT15H00M00S"),
        ("9" * 16 + ":00:00", "9" * 16 + ":00:00"),
    ],
)
def test_a_duration_is_iso_8601_where_programs_read_it(clock: str | None, iso: str | None) -> None:
    assert to_iso_durations(pa.array(["0:00:01", clock], pa.string())).to_pylist()[1] == iso
