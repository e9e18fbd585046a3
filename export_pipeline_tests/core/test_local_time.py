from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_pipeline.core.local_time import to_local

_ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu",
    "Pacific/Apia", "America/St_Johns", "Asia/Gaza",
]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
        max_size=5,
    ),
    st.sampled_from(_ZONES),
)
# Ramadan moves through the years; 400 years after a listed change there is none.
@example([datetime(2038, 10, 1, tzinfo=UTC), datetime(2438, 10, 1, tzinfo=UTC)], "Africa/Casablanca")
@example([datetime(2086, 4, 1, tzinfo=UTC), datetime(2486, 4, 1, tzinfo=UTC)], "Asia/Gaza")
def test_the_clock_shows_what_python_says(instants: list[datetime | None], zone: str) -> None:
    made = to_local(pa.array(instants, pa.timestamp("us", tz="UTC")), zone)
    assert made.type == pa.timestamp("us")
    assert made.to_pylist() == [
        one and one.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for one in instants
    ]


def test_rules_hold_to_the_last_day() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    made = to_local(pa.array([last], pa.timestamp("us", tz="UTC")), "Europe/Berlin")
    assert str(made[0].cast(pa.string())) == "10000-01-01 00:59:59.999999"
