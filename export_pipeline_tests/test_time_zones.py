"""Names of zones: all that Arrow and Python read alike, and nothing else that lies in their folder."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from export_pipeline.datasets.attributes import CadenceRule
from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.schedules.due_times import Schedule
from export_pipeline.settings import load_settings
from export_pipeline.takeoff.options import TakeoffOptions
from export_pipeline.time_zones import zone_problem
from export_pipeline_tests.tabular.test_validation import changed, column, refused

NO_ZONES = [
    "localtime", "Factory", "posixrules", "posix/Europe/Berlin", "right/Europe/Berlin", "posix/UTC", "right/UTC",
    "tzdata.zi", "zone.tab", "leapseconds", "europe/berlin", "utc", "Europe", "", " UTC", "UTC\n", "../UTC",
    "/usr/share/zoneinfo/UTC", "UTC\0", "CEST", "+01:00", "UTC+1", "x" * 5000,
]  # fmt: skip


def test_every_zone_is_one_of_arrow_too() -> None:
    instant = pa.array([0], pa.timestamp("us", tz="UTC"))
    zones = {name for name in available_timezones() if zone_problem(name) is None}
    for name in zones:
        assert ZoneInfo(name).key == name
        assert pc.local_timestamp(instant.cast(pa.timestamp("us", tz=name))).null_count == 0
    assert {"UTC", "Europe/Berlin", "Etc/GMT+5", "EST5EDT", "America/Argentina/Buenos_Aires"} <= zones


@pytest.mark.parametrize("name", [*NO_ZONES, None, 5, b"UTC", ["UTC"]])
def test_everything_else_is_refused_in_one_short_sentence(name: Any) -> None:
    problem = zone_problem(name)
    assert problem is not None
    assert "is not an IANA time zone" in problem
    assert len(problem) < 250


def test_the_nearest_name_is_suggested() -> None:
    assert "did you mean Europe/Berlin?" in str(zone_problem("europe/berlin"))
    assert "did you mean Europe/Berlin?" in str(zone_problem("posix/Europe/Berlin"))


@pytest.mark.parametrize("name", ["localtime", "Factory", "posixrules", "right/UTC", "posix/Europe/Berlin"])
def test_settings_declarations_and_schedules_refuse_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "is not an IANA time zone"
    monkeypatch.setenv("EXPORT_TIMEZONE", name)
    with pytest.raises(Exception, match=message):
        load_settings()
    with pytest.raises(ScheduleError, match=message):
        Schedule("daily", timezone=name)
    for path, value in (
        column(type="timestamp", zone=name),
        (("window", "zone"), name),
        (("file_zone",), name),
    ):
        (problem,) = refused(changed(path, value)).values()
        assert message in problem
    with pytest.raises(ValueError, match=message):
        CadenceRule(cron="15 2 * * *", timezone=name, formats=["csv"])
    with pytest.raises(ValueError, match=message):
        TakeoffOptions(zone=name)
