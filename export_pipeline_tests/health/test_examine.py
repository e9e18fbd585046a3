"""All checks together."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from export_pipeline import health
from export_pipeline.health.findings import Finding
from export_pipeline_tests.commands import Command
from export_pipeline_tests.health.findings import examined
from export_pipeline_tests.jobs.database import Database


def test_a_healthy_deployment_has_no_findings(well: dict[str, str]) -> None:
    assert examined() == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("EXPORT_JOBS_URL", "postgresql://u:hunter2@127.0.0.1:1/x", "ledger_unreachable"),
        ("EXPORT_JOBS_URL", "sqlite:////nowhere/at/all.db", "ledger_not_migrated"),
        ("EXPORT_SOURCE_URL", "postgresql://u:hunter2@127.0.0.1:1/x", "source_unreachable"),
        ("EXPORT_SOURCE_URL", "sqlite:////nowhere/at/all.db", "source_unreachable"),
        ("EXPORT_STORE_URL", "/proc/nowhere", "store_unusable"),
        ("EXPORT_STAGING_URL", "/proc/nowhere", "staging_unusable"),
    ],
)
def test_each_part_that_is_down_is_reported_alone(
    well: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: str
) -> None:
    monkeypatch.setenv(name, value)
    findings = examined()
    assert set(findings) == {code}
    assert "hunter2" not in str(findings)


def test_tables_of_another_version_and_an_invalid_file_are_reported(
    well: dict[str, str], tmp_path: Path
) -> None:
    database = Database(well["EXPORT_JOBS_URL"])
    database.run("UPDATE export_pipeline_version SET version_num = 'older'")
    assert set(examined()) == {"ledger_not_migrated"}
    database.run("DROP TABLE export_pipeline_version")
    assert set(examined()) == {"ledger_not_migrated"}
    database.close()
    (tmp_path / "health.db").write_bytes(b"not a database" * 100)
    assert set(examined()) == {"ledger_unusable"}


def test_a_check_that_breaks_hides_no_other(well: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: object) -> Iterator[Finding]:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(health, "source_findings", broken)
    monkeypatch.setenv("EXPORT_STAGING_URL", "/proc/nowhere")
    findings = examined()
    assert set(findings) == {"check_failed", "staging_unusable"}
    assert findings["check_failed"].wrong == "A check broke: ZeroDivisionError: a b"


def test_a_check_that_breaks_quotes_no_cell(well: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: object) -> Iterator[Finding]:
        raise pa.ArrowInvalid("Failed to parse string: 'Anna'")

    monkeypatch.setattr(health, "source_findings", broken)
    message = "A check broke: ArrowInvalid: the message may quote a value, and is not shown"
    assert examined()["check_failed"].wrong == message


def test_a_home_that_cannot_be_written_is_reported_in_one_line(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "home"))
    for line in (("health", "--json"), ("request", "takeoff", "--scope", "a", "--format", "csv")):
        ended = command(*line)
        assert ended.code
        assert "Traceback" not in ended.out + ended.err
    (finding,) = [one for one in command("health", "--json").json if one["code"] == "dagster_unreachable"]
    assert finding["wrong"].startswith("DAGSTER_HOME: the folder")
