import csv
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.formats.csv import readback
from export_pipeline.formats.registry import FORMATS
from export_pipeline.jobs import File, Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.link_tokens import open_link
from export_pipeline.orchestration.file_metadata import CONTENT_TAG, escape_markdown
from export_pipeline.orchestration.launchpad_config import config_schema
from export_pipeline.orchestration.lineage import application_key
from export_pipeline.schedules.periods import period_of
from export_pipeline_tests.orchestration.deployment import Deployment, failures, files, steps

TAKEOFF_FORMATS = ["csv", "excel", "pdf", "json", "ost", "zip"]
STAGES = ["fetch_source", "build_export_data", "sanitize"]


@pytest.mark.slow
def test_every_format_comes_from_one_read(deployment: Deployment) -> None:
    result = deployment.run(TAKEOFF_FORMATS, config={"include_details": "true"})
    assert result.success, failures(result)
    assert steps(result)[:3] == STAGES
    assert sorted(steps(result)[3:]) == sorted(f"render_{name}" for name in TAKEOFF_FORMATS)
    made = files(result)
    many = deployment.source.exported(deployment.scope)
    assert {name: file["dagster/row_count"] for name, file in made.items()} == {
        name: 2 * many if name == "zip" else many for name in TAKEOFF_FORMATS
    }
    snapshots = {deployment.manifest(file["key"])["snapshot_at"] for file in made.values()}
    assert len(snapshots) == 1
    for name, file in made.items():
        assert file["key"] == f"exports/{deployment.scope}/{result.run_id}{FORMATS[name].extension}"
    assert deployment.stored() == {
        key for file in made.values() for key in (file["key"], f"{file['key']}.manifest.json")
    }


def test_a_subset_renders_only_what_is_chosen(deployment: Deployment) -> None:
    result = deployment.run(["json"])
    assert steps(result) == [*STAGES, "render_json"]
    assert set(files(result)) == {"json"}


@pytest.mark.slow
def test_materialization_says_what_was_made(deployment: Deployment) -> None:
    deployment.source.rows("UPDATE measurements SET notes = '=1+1' || char(11)")
    many = deployment.source.exported(deployment.scope)
    result = deployment.run(["csv"], config={"csv_bom": True})
    (file,) = files(result).values()
    content = deployment.read(file["key"])
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert content.startswith(b"\xef\xbb\xbf")
    assert file["dagster/row_count"] == len(rows) - 1 == many
    assert [column.name for column in file["dagster/column_schema"].columns] == rows[0]
    assert file["bytes"] == len(content)
    assert file["location"].endswith(f"{result.run_id}.csv")
    assert file["seconds"] > 0
    assert file["preview"].records[0].data["Condition"] == rows[1][0]
    assert len(file["preview"].records) == 10
    assert sum(next(iter(reason.values())) for reason in file["changed cells"].values()) >= 2 * many
    assert file["options"]["csv_bom"] is True
    assert any("cells of" in warning for warning in file["warnings"])
    manifest = deployment.manifest(file["key"])
    assert manifest["hash"] == f"sha256:{file['sha256']}"
    assert (manifest["scope"], manifest["rows"], manifest["run_id"]) == (
        deployment.scope,
        many,
        result.run_id,
    )
    assert manifest["changed"] == file["changed cells"]


def test_assets_say_whose_they_are(deployment: Deployment) -> None:
    graph = deployment.definitions.resolve_asset_graph()
    keys = {key for key in graph.get_all_asset_keys() if key.path[0] == "takeoff"}
    files = keys & graph.materializable_asset_keys
    assert keys - files == {application_key("takeoff")}
    assert {tuple(key.path) for key in files} == {
        ("takeoff", cadence, format)
        for cadence in ("on_demand", "daily", "weekly", "monthly")
        for format in TAKEOFF_FORMATS
    }
    for key in files:
        assert graph.get(key).parent_keys == {application_key("takeoff")}
        node = graph.get(key)
        assert node.owners == ["team:estimating"]
        assert node.group_name == "takeoff"
        assert node.code_version
        assert FORMATS[key.path[2]].help in str(node.description)
        assert "file" in node.kinds
        checks = {check.name: graph.get_check_spec(check) for check in graph.get_check_keys_for_assets({key})}
        assert set(checks) == {"rows", "totals"}
        assert all(check.blocking for check in checks.values())


@pytest.mark.slow
def test_checks_are_evaluated_for_each_file(deployment: Deployment) -> None:
    result = deployment.run(["csv", "excel"])
    evaluations = result.get_asset_check_evaluations()
    assert {(e.asset_key.path[-1], e.check_name, e.passed) for e in evaluations} == {
        (format, name, True) for format in ("csv", "excel") for name in ("rows", "totals")
    }
    rows = next(e for e in evaluations if e.check_name == "rows")
    assert rows.metadata["rows in source"].value == deployment.source.exported(deployment.scope)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"group_by": "nope"},
            "group_by not in enum type takeoff_group_by, one of condition, page, category",
        ),
        ({"grup_by": "page"}, 'unexpected config entry "grup_by".*group_by'),
        ({"include_costs": "yes"}, "include_costs"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(
    deployment: Deployment, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=message):
        deployment.run(config=config)


def test_a_value_that_no_type_can_refuse_ends_the_run_with_one_sentence(deployment: Deployment) -> None:
    result = deployment.run(config={"condition_ids": ["x"]})
    assert failures(result) == {
        "fetch_source": "option condition_ids: 'x' is not an id (a UUID such as 00000000-0000-0000-0000-000000000001)"
    }


def test_options_choose_what_is_exported(deployment: Deployment) -> None:
    everything = files(deployment.run())["csv"]["dagster/row_count"]
    verified = files(deployment.run(config={"include_unverified": False}))["csv"]["dagster/row_count"]
    (expected,) = deployment.source.rows(
        "SELECT count(*) FROM measurements m JOIN conditions c ON c.id = m.condition_id "
        f"WHERE c.project_id = '{deployment.scope}' AND is_verified AND NOT is_rejected"
    )[0]
    assert verified == expected < everything


def test_launchpad_shows_types_defaults_and_help() -> None:
    from export_pipeline.formats.options import FormatOptions
    from export_pipeline.takeoff.options import TakeoffOptions as Options

    fields = config_schema("takeoff", {"include_drawings": True}, Options, FormatOptions)
    assert all(field.description for field in fields.values())
    assert fields["include_drawings"].default_value is True  # defs.yaml goes before the model
    assert fields["include_costs"].default_value is True
    assert fields["group_by"].config_type.given_name == "takeoff_group_by, one of condition, page, category"
    other = config_schema("other", {}, Options)
    assert other["group_by"].config_type.given_name != fields["group_by"].config_type.given_name


@pytest.mark.slow
def test_a_downstream_asset_gets_its_own_partitions_file(deployment: Deployment) -> None:
    first, second = deployment.source.scopes
    made = {scope: files(deployment.run(partition=scope))["csv"]["key"] for scope in (first, second)}
    upstream = deployment.definitions.resolve_assets_def(dg.AssetKey(["takeoff", "on_demand", "csv"]))
    seen, copied = {}, {}
    of_csv = dg.AssetIn(["takeoff", "on_demand", "csv"], input_manager_key="export_store")

    @dg.asset(ins={"csv": of_csv}, partitions_def=upstream.partitions_def)
    def delivered(context: dg.AssetExecutionContext, csv: str) -> None:
        seen[context.partition_key] = csv

    @dg.asset(ins={"csv": of_csv}, partitions_def=upstream.partitions_def)
    def read(context: dg.AssetExecutionContext, csv: Path) -> None:
        copied[context.partition_key] = csv.read_bytes()

    both = dg.Definitions.merge(deployment.definitions, dg.Definitions(assets=[delivered, read]))
    job = both.resolve_implicit_global_asset_job_def()
    for scope in (first, second):
        job.execute_in_process(
            instance=deployment.instance,
            partition_key=scope,
            asset_selection=[dg.AssetKey("delivered"), dg.AssetKey("read")],
        )
    assert seen == made
    assert copied == {scope: deployment.read(key) for scope, key in made.items()}


def test_an_input_is_the_file_of_one_partition_or_of_an_asset_without_any(deployment: Deployment) -> None:
    seen = {}
    whole = dg.AssetKey(["sellers", "on_demand", "csv"])
    deployment.instance.report_runless_asset_event(
        dg.AssetMaterialization(whole, metadata={"key": "exports/all/1.csv"})
    )

    @dg.asset(
        ins={
            "one": dg.AssetIn(whole, input_manager_key="export_store"),
            "other": dg.AssetIn(["takeoff", "on_demand", "csv"], input_manager_key="export_store"),
        }
    )
    def delivered(one: str, other: str) -> None:
        seen["one"] = one

    @dg.asset(ins={"one": dg.AssetIn(whole, input_manager_key="export_store")})
    def read(one: str) -> None:
        seen["one"] = one

    both = dg.Definitions.merge(deployment.definitions, dg.Definitions(assets=[delivered, read]))
    job = both.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=deployment.instance, asset_selection=[dg.AssetKey("read")]).success
    assert seen == {"one": "exports/all/1.csv"}
    of_scopes = deployment.definitions.resolve_assets_def(dg.AssetKey(["takeoff", "on_demand", "csv"]))
    assert isinstance(of_scopes.partitions_def, dg.DynamicPartitionsDefinition)
    deployment.instance.add_dynamic_partitions(of_scopes.partitions_def.name or "", ["a", "b"])
    with pytest.raises(dg.Failure, match=r"takeoff/on_demand/csv has 2 partitions .* one file"):
        job.execute_in_process(instance=deployment.instance, asset_selection=[dg.AssetKey("delivered")])


def test_the_metadata_begin_with_what_a_person_looks_for(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.definitions import defs

    monkeypatch.setenv("EXPORT_API_URL", "https://exports.example.org")
    there = dataclasses.replace(deployment, definitions=defs())
    (file,) = files(there.run(["csv"])).values()
    names = list(file)
    first = ["download", "file name", "dagster/row_count", "size", "expires"]
    assert names[: len(first)] == first
    assert names.index("warnings") < names.index("preview") < names.index("dagster/column_schema")
    assert names[-2:] == ["location", "shell command"]
    assert file["size"].split()[1] in ("bytes", "kB")
    token = file["download"].removeprefix("https://exports.example.org/d/").removesuffix("/file")
    (job,) = ledger.find()
    opened = open_link(open_engine(deployment.source.url), token)
    assert opened is not None
    assert opened[1] == job


@pytest.mark.slow
def test_each_file_of_a_backfill_has_a_link_of_its_own(
    deployment: Deployment, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.definitions import defs

    monkeypatch.setenv("EXPORT_API_URL", "https://exports.example.org")
    there = dataclasses.replace(deployment, definitions=defs())
    first, last = f"{deployment.scope}|2026-02-01", f"{deployment.scope}|2026-02-02"
    one_run = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    runs = [
        there.run(["csv"], "daily", partition=None, tags=one_run),
        there.run(["excel"], "daily", first),
        there.run(["excel"], "daily", last),
    ]
    opened: dict[str, str] = {}
    for metadata in (one for run in runs for one in files(run).values()):
        keys = list(metadata["keys"].values()) if "keys" in metadata else [metadata["key"]]
        tokens = re.findall(r"https://exports\.example\.org/d/([\w-]+)/file", metadata["download"])
        for key, token in zip(keys, tokens, strict=True):
            link = open_link(open_engine(deployment.source.url), token)
            assert link is not None
            opened[key] = str(link[1].file_key)
    assert len(opened) == 4
    assert all(key == of_job for key, of_job in opened.items())


def test_the_name_of_a_customer_is_no_markdown() -> None:
    name = "Acme](https://evil.example) <b>*x*_`y`\\.csv"
    shown = escape_markdown(name)
    assert re.sub(r"\\([^A-Za-z0-9 ])", r"\1", shown) == name  # as Markdown reads it
    assert not re.search(r"(?<!\\)(?:\\\\)*[\]<*_`]", shown)


def test_a_file_that_nobody_requested_is_listed_once_as_a_completed_job(
    deployment: Deployment, ledger: Ledger
) -> None:
    partition = f"{deployment.scope}|2026-02-01"
    result = deployment.run(["csv"], "daily", partition)
    (file,) = files(result).values()
    (job,) = ledger.find()
    assert (job.status, job.file_key, job.scope) == (Status.COMPLETED, file["key"], deployment.scope)
    assert (job.run_id, job.row_count, job.sha256) == (
        result.run_id, file["dagster/row_count"], file["sha256"],
    )  # fmt: skip
    assert period_of(job) == "2026-02-01"
    again = ledger.record_export(
        result.run_id, File(file["key"], "x.csv", 1, 1, "00"), None,
        dataset="takeoff", format="csv", scope=deployment.scope, filters={}, columns=None, options={},
        requested_by=None, started_at=job.created_at, who="dagster",
    )  # fmt: skip
    assert again == job
    assert ledger.claim(9) == []


@pytest.mark.slow
def test_checks_belong_to_the_materialization_that_they_prove(deployment: Deployment) -> None:
    for day in ("2026-02-01", "2026-02-02"):
        result = deployment.run(["csv"], "daily", f"{deployment.scope}|{day}")
        (event,) = result.get_asset_materialization_events()
        for check in result.get_asset_check_evaluations():
            assert check.partition == event.partition == f"{deployment.scope}|{day}"
            target = check.target_materialization_data
            assert target is not None
            assert target.run_id == result.run_id
            record = deployment.instance.fetch_materializations(event.asset_key, limit=1).records[0]
            assert target.storage_id == record.storage_id
        totals = next(c for c in result.get_asset_check_evaluations() if c.check_name == "totals")
        assert totals.metadata["total quantity"].value == pytest.approx(
            float(str(totals.metadata["quantity in source"].value).split()[0])
        )


@pytest.mark.slow
def test_checks_of_several_partitions_are_one_for_each(deployment: Deployment) -> None:
    first, last = f"{deployment.scope}|2026-02-01", f"{deployment.scope}|2026-02-02"
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = deployment.run(["csv"], "daily", partition=None, tags=tags)
    checks = [check for check in result.get_asset_check_evaluations() if check.check_name == "rows"]
    assert [check.partition for check in checks] == [first, last]
    targets = {check.target_materialization_data for check in checks}
    assert len(targets) == 2
    key = dg.AssetCheckKey(dg.AssetKey(["takeoff", "daily", "csv"]), "rows")
    records = deployment.instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    assert {(record.partition, record.status.value) for record in records} == {
        (first, "SUCCEEDED"), (last, "SUCCEEDED"),
    }  # fmt: skip


@pytest.mark.slow
def test_a_rejected_file_does_not_spoil_the_one_before(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deployment.run(["csv"]).success
    monkeypatch.setattr(
        readback, "read_back", lambda path, options, read=readback.read_back: dataclasses.replace(
            read(path, options), rows=0
        )
    )  # fmt: skip
    rows = next(c for c in deployment.run(["csv"]).get_asset_check_evaluations() if c.check_name == "rows")
    assert not rows.passed
    assert rows.partition == deployment.scope
    assert rows.target_materialization_data is None


def test_a_part_of_an_export_does_not_look_like_the_whole(deployment: Deployment) -> None:
    (whole,) = files(deployment.run(["csv"])).values()
    result = deployment.run(["csv"], config={"include_unverified": False, "csv_bom": True})
    (part,) = files(result).values()
    assert "only" not in whole
    assert part["only"] == {"include_unverified": False}
    assert part["title"] == f"{whole['title']} (include_unverified chosen)"
    (event,) = result.get_asset_materialization_events()
    assert (event.materialization.tags or {})[CONTENT_TAG] == "include_unverified"

    context = dg.build_input_context(
        asset_key=event.asset_key, partition_key=deployment.scope, instance=deployment.instance
    )
    assert deployment.definitions.resources["export_store"].load_input(context) == whole["key"]
