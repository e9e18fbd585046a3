from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from export_pipeline.datasets.partition_keys import scope_key
from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.dagster_compat.partitions import last_window
from export_pipeline.orchestration.partitions import WINDOW, add_scope, known_scopes, partitions
from export_pipeline.orchestration.sensors.scopes import scope_changes
from export_pipeline_tests.datasets.test_partition_keys import ODD_SCOPES
from export_pipeline_tests.orchestration.deployment import Deployment, failures, files

START, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
ZONES = ["UTC", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York", "Europe/Berlin", "Africa/Cairo",
         "Pacific/Apia", "America/St_Johns"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("cadence", ["on_demand", "daily", "monthly"])
def test_without_a_partition_nothing_is_exported(deployment: Deployment, cadence: str) -> None:
    result = deployment.run(["csv", "json"], cadence, partition=None)
    assert not result.success
    (message,) = failures(result).values()
    assert "no partition" in message
    assert deployment.stored() == set()


@pytest.mark.slow
def test_a_range_of_windows_in_one_run_gives_a_file_each(deployment: Deployment) -> None:
    tags = {"dagster/asset_partition_range_start": f"{deployment.scope}|2026-02-01",
            "dagster/asset_partition_range_end": f"{deployment.scope}|2026-02-03"}  # fmt: skip
    result = deployment.run(["csv"], "daily", partition=None, tags=tags)
    assert result.success
    keys = [f"exports/{deployment.scope}/takeoff/daily/2026-02-0{day}.csv" for day in (1, 2, 3)]
    assert deployment.stored() == {key + end for key in keys for end in ("", ".manifest.json")}
    (metadata,) = {tuple(sorted(one["keys"].items())) for one in files(result).values()}
    assert metadata == tuple((f"{deployment.scope}|2026-02-0{day}", key) for day, key in enumerate(keys, 1))
    singly = deployment.run(
        ["csv"], "daily", partition=dg.MultiPartitionKey({"scope": deployment.scope, "window": "2026-02-02"})
    )
    assert singly.success
    manifests = [deployment.manifest(key) for key in keys]
    assert len({manifest["window"] for manifest in manifests}) == 3
    checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks} == {"rows", "totals"}


@pytest.mark.slow
def test_a_range_with_a_file_under_legal_hold_replaces_none(deployment: Deployment, ledger: Ledger) -> None:
    days = [f"{deployment.scope}|2026-02-0{day}" for day in (1, 2)]
    for day in days:
        assert not failures(deployment.run(["csv"], "daily", day))
    (held,) = [job for job in ledger.find() if "2026-02-02" in str(job.file_key)]
    ledger.hold(held.id, True)
    before = [deployment.manifest(str(job.file_key)) for job in ledger.find()]
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]}
    result = deployment.run(["csv"], "daily", partition=None, tags=tags)
    assert "under legal hold" in str(failures(result))
    assert [deployment.manifest(str(job.file_key)) for job in ledger.find()] == before


@pytest.mark.slow
def test_an_export_holds_its_own_scope_only(deployment: Deployment) -> None:
    for scope in deployment.source.scopes:
        (file,) = files(deployment.run(["json"], partition=scope)).values()
        text = deployment.read(file["key"]).decode()
        others = [other for other in deployment.source.scopes if other != scope]
        conditions = deployment.source.rows(
            f"SELECT id FROM conditions WHERE project_id IN ({', '.join(map(repr, others))})"
        )
        assert scope in text
        assert not any(other in text for other in others)
        assert not any(id in text for (id,) in conditions)


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_a_window_holds_what_existed_by_its_end(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    from export_pipeline.definitions import defs

    monkeypatch.setenv("EXPORT_TIMEZONE", zone)
    end = datetime(2026, 3, 9, tzinfo=ZoneInfo(zone)).astimezone(UTC)  # after New York's change of the clock
    for offset, before in ((timedelta(seconds=-1), 40), (timedelta(0), 90)):
        deployment.source.rows(
            f"UPDATE measurements SET is_rejected = 0, created_at = '{end + offset:%Y-%m-%d %H:%M:%S.000000}' "
            f"WHERE id IN (SELECT id FROM measurements WHERE created_at < '2026-02-01' ORDER BY id LIMIT {before})"
        )
    (expected,) = deployment.source.rows(
        "SELECT count(*) FROM measurements m JOIN conditions c ON c.id = m.condition_id "
        f"WHERE c.project_id = '{deployment.scope}' AND NOT is_rejected "
        f"AND m.created_at < '{end:%Y-%m-%d %H:%M:%S.000000}'"
    )[0]
    there = Deployment(deployment.source, deployment.folder, defs(), deployment.instance)
    file = files(there.run(["csv"], "daily", f"{deployment.scope}|2026-03-08"))["csv"]
    assert 0 < expected < deployment.source.exported(deployment.scope)
    assert file["dagster/row_count"] == expected
    assert file["key"] == f"exports/{deployment.scope}/takeoff/daily/2026-03-08.csv"
    assert deployment.manifest(file["key"])["window"] == "2026-03-08"


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cadence", ["daily", "weekly", "monthly"])
def test_windows_touch_each_other_and_the_last_ended_one_is_found(cadence: str, zone: str) -> None:
    both = partitions("t", cadence, "2025-12-01", zone, scoped=True, windows_have_scopes=True)
    assert isinstance(both, dg.MultiPartitionsDefinition)
    windows = both.get_partitions_def_for_dimension(WINDOW)
    assert isinstance(windows, dg.TimeWindowPartitionsDefinition)
    keys = windows.get_partition_keys(current_time=datetime(2027, 1, 15, tzinfo=UTC))
    spans = [windows.time_window_for_partition_key(key) for key in keys]
    assert len(keys) > 11
    lengths = [span.end.astimezone(UTC) - span.start.astimezone(UTC) for span in spans]
    for place, (key, span, following) in enumerate(zip(keys, spans, spans[1:], strict=False)):
        assert span.end == following.start  # no gap, no overlap, whatever the clock did
        assert span.start < span.end
        if place > 10 and len(set(lengths[place - 2 : place + 3])) == 1:
            continue  # in the middle of days or weeks that are all alike
        for later in (timedelta(0), timedelta(minutes=15), timedelta(hours=3)):
            assert last_window(windows, span.end + later) == key
        if span is not spans[0]:
            assert last_window(windows, span.end - timedelta(seconds=1)) != key
    assert last_window(windows, spans[0].end - timedelta(seconds=1)) is None


def test_windows_have_their_lengths_around_a_change_of_the_clock() -> None:
    both = partitions("t", "daily", "2026-01-01", "Europe/Berlin", scoped=True, windows_have_scopes=True)
    assert isinstance(both, dg.MultiPartitionsDefinition)
    windows = both.get_partitions_def_for_dimension(WINDOW)
    assert isinstance(windows, dg.TimeWindowPartitionsDefinition)
    hours = {}
    for key in ("2026-03-28", "2026-03-29", "2026-10-25"):
        span = windows.time_window_for_partition_key(key)
        hours[key] = (span.end.astimezone(UTC) - span.start.astimezone(UTC)) / timedelta(hours=1)
    assert hours == {"2026-03-28": 24, "2026-03-29": 23, "2026-10-25": 25}


Changes = list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]


def changed(changes: Changes) -> tuple[list[str], list[str]]:
    """The partitions that are added, and those that are deleted."""
    added = [
        key
        for one in changes
        if isinstance(one, dg.AddDynamicPartitionsRequest)
        for key in one.partition_keys
    ]
    gone = [
        key
        for one in changes
        if isinstance(one, dg.DeleteDynamicPartitionsRequest)
        for key in one.partition_keys
    ]
    return added, gone


def test_scopes_are_kept_in_step() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("t_scopes", ["a", "Shop b (b)", "invented (b)", "Nobody (x)"])
        changes, _ = scope_changes(instance, "t", {"b": "Another name", "c": "Shop c"}, True)
        assert changed(changes) == (["Shop c (c)"], ["a", "invented (b)", "Nobody (x)"])
        changes, _ = scope_changes(instance, "t", {"b": "Another name", "c": "Shop c"}, False)
        assert changed(changes) == (["b", "c"], ["a", "Shop b (b)", "invented (b)", "Nobody (x)"])
        instance.delete_dynamic_partition("t_scopes", "invented (b)")
        instance.delete_dynamic_partition("t_scopes", "Nobody (x)")
        assert scope_changes(instance, "t", {"a": "Shop a", "b": "b"}, True) == ([], {})


def test_a_partition_keeps_the_first_name_of_its_scope() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert add_scope(instance, "t", scope_key("8d2e", "Corner shop")) == "Corner shop (8d2e)"
        assert add_scope(instance, "t", scope_key("8d2e", "Shop at the corner")) == "Corner shop (8d2e)"
        assert add_scope(instance, "t", scope_key("8d2e")) == "Corner shop (8d2e)"
        instance.add_dynamic_partitions("t_scopes", ["old"])  # by a version without names
        assert add_scope(instance, "t", scope_key("old", "Its name")) == "old"
        assert known_scopes(instance, "t") == ["8d2e", "old"]


def test_keeping_scopes_in_step_compares_each_scope_once() -> None:
    class Counted(str):
        compared = 0
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

    known = [str(number) for number in range(2_000)]
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "get_dynamic_partitions", lambda _: known)
        scopes = {Counted(number): "Shop" for number in range(1_000, 3_000)}
        added, gone = changed(scope_changes(instance, "t", scopes, True)[0])
    assert (len(added), len(gone)) == (1_000, 1_000)
    assert Counted.compared < 20_000


@pytest.mark.parametrize("scope", ODD_SCOPES)
def test_every_scope_is_a_partition_of_its_own(scope: str) -> None:
    for name in (None, "Shop", f"{scope} ({scope})"):
        key = scope_key(scope, name)
        with dg.DagsterInstance.ephemeral() as instance:
            assert add_scope(instance, "t", key) == key
            assert known_scopes(instance, "t") == [scope]
            assert scope_changes(instance, "t", {scope: "Other"}, True) == ([], {})


def test_scopes_that_cannot_have_a_key_are_reported() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        scopes = dict.fromkeys(["", "a", "|" * 400, "x" * 1_001], "Name")
        changes, problems = scope_changes(instance, "t", scopes, True)
    assert changed(changes) == (["Name (a)"], [])
    assert problems == {
        "": "takes 0 bytes as a partition of Dagster, and 1 to 1,000 can be used",
        "|" * 400: "takes 1,200 bytes as a partition of Dagster, and 1 to 1,000 can be used",
        "x" * 1_001: "takes 1,001 bytes as a partition of Dagster, and 1 to 1,000 can be used",
    }


def test_a_run_says_scope_and_window_before_it_can_fail(deployment: Deployment) -> None:
    partition = "Corner shop (invented)|2026-02-01"
    deployment.instance.add_dynamic_partitions("takeoff_scopes", ["Corner shop (invented)"])
    result = deployment.run(["csv"], "daily", partition)
    (message,) = failures(result).values()
    assert "invented" in message
    assert deployment.stored() == set()
    run = deployment.instance.get_run_by_id(result.run_id)
    assert run is not None
    tags = {tag: value for tag, value in run.tags.items() if tag.startswith("export_pipeline/")}
    assert tags == {
        "export_pipeline/scope": "invented",
        "export_pipeline/scope_name": "Corner shop",
        "export_pipeline/window": "2026-02-01",
    }


def test_a_partition_with_a_name_exports_the_scope_of_its_id(deployment: Deployment) -> None:
    key = f"Anything ({deployment.scope})"
    deployment.instance.add_dynamic_partitions("takeoff_scopes", [key])
    result = deployment.run(["csv"], partition=key)
    (file,) = files(result).values()
    assert file["key"].startswith(f"exports/{deployment.scope}/")
    assert file["scope"] == deployment.scope
    assert file["scope name"] == file["title"]
    assert [check.partition for check in result.get_asset_check_evaluations()] == [key, key]
