"""Commands for scheduled exports."""

import pytest

from export_pipeline.jobs import Ledger
from export_pipeline_tests.cli.stored import NOBODY
from export_pipeline_tests.commands import Command

pytestmark = pytest.mark.slow


def test_a_schedule_is_created_changed_paused_and_deleted(command: Command, ledger: Ledger) -> None:
    made = command(
        "schedules", "create", "records", "--scope", "a", "--format", "excel", "--cadence", "monthly", "--day", "31",
        "--at", "06:30", "--timezone", "America/New_York", "--to", "ann@example.org", "--empty", "say", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    id = made.json["id"]
    (listed,) = command("schedules", "--json").json
    assert (listed["day_of_month"], listed["hour"], listed["minute"]) == (31, 6, 30)
    assert "monthly day 31 06:30 America/New_York" in command("schedules", "list").out
    assert command("schedules", "--json", "list").code == 0
    assert command("schedules", "pause", id, "--json").json["active"] is False
    assert "paused" in command("schedules").out
    changed = command(
        "schedules", "change", id, "--at", "7:15", "--cadence", "weekly", "--weekday", "fri", "--json"
    )
    assert (changed.json["hour"], changed.json["weekday"], changed.json["active"]) == (7, 5, False)
    assert command("schedules", "resume", id).code == 0
    asked = command("schedules", "run-now", id, "--json").json
    assert (asked["new"], asked["status"], asked["schedule_id"]) == (True, "pending", id)
    assert asked["options"]["window"]["timezone"] == "America/New_York"
    twice = command("schedules", "run-now", id, "--json").json
    assert (twice["new"], twice["id"]) == (False, asked["id"])
    again = command("schedules", "run-now", id, "--again", "--json").json
    assert again["new"]
    assert again["options"] == asked["options"]
    assert len(ledger.find()) == 2
    assert command("schedules", "delete", id).code == 2
    assert command("schedules", "delete", id, "--yes").code == 0
    assert command("schedules", "--json").json == []
    assert len(ledger.find()) == 2


def test_a_schedule_has_a_preset_an_order_and_a_title(command: Command, ledger: Ledger) -> None:
    made = command(
        "schedules", "create", "records", "--scope", "a", "--format", "excel,csv", "--cadence", "hourly", "--window", "none",
        "--preset", "financial", "--sort", "-sale_date", "--sort", "item_name", "--title", "Each sale", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    options = {"preset": "financial", "sort": ["-sale_date", "item_name"], "title": "Each sale"}
    assert (made.json["cadence"], made.json["export_window"], made.json["options"]) == (
        "hourly",
        "none",
        options,
    )
    asked = command("schedules", "run-now", made.json["id"], "--json").json
    assert {name: asked["options"][name] for name in options} == options
    assert {job.format for job in ledger.find()} == {"excel", "csv"}
    wrong = command("schedules", "change", made.json["id"], "--preset", "x")
    assert wrong.err == "Error: preset: it must be 'essential', 'financial' or 'all', not \"x\"\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "recods", "--format", "csv", "--cadence", "daily"], "Did you mean records?"),
        (
            ["create", "records", "--scope", "a", "--format", "doc", "--cadence", "daily"],
            "format: 'doc' is not one of",
        ),
        (
            ["create", "records", "--scope", "a", "--format", "csv", "--cadence", "yearly"],
            "'yearly' is not one of 'hourly', 'daily', 'weekly', 'monthly', 'cron'",
        ),
        (
            ["create", "records", "--scope", "a", "--format", "csv", "--cadence", "daily", "--at", "9"],
            "HH:MM",
        ),
        (
            ["create", "records", "--scope", "a", "--format", "csv", "--cadence", "daily", "--at", "25:00"],
            "hour: 25",
        ),
        (
            [
                "create",
                "records",
                "--scope",
                "a",
                "--format",
                "csv",
                "--cadence",
                "daily",
                "--timezone",
                "Berlin",
            ],
            "IANA",
        ),
        (
            ["create", "records", "--scope", "a", "--format", "csv", "--cadence", "weekly", "--weekday", "s"],
            "monday, tuesday",
        ),
        (
            ["create", "records", "--scope", "a", "--format", "csv", "--cadence", "monthly", "--day", "32"],
            "from 1 to 31",
        ),
        (
            ["create", "records", "--scope", "a", "--format", "csv", "--cadence", "daily", "--to", "ann"],
            "mail address",
        ),
        (["create", "records", "--scope", "a", "--format", "csv"], "--cadence"),
        (
            ["create", "records", "--format", "csv", "--cadence", "daily"],
            "scope: it is missing. Say whose rows; `export-pipeline datasets --scopes records` lists",
        ),
        (
            ["create", "sellers", "--scope", "a", "--format", "csv", "--cadence", "monthly"],
            "scope: sellers has no scopes; leave it out",
        ),
        (
            ["create", "properties", "--scope", "a", "--format", "csv", "--cadence", "daily"],
            "add a window to its defs.yaml",
        ),
        (["change", NOBODY], "Say what to change"),
        (["nothing"], "No such command"),
    ],
)
def test_a_wrong_schedule_is_one_line_that_says_what_is_valid(
    command: Command, ledger: Ledger, arguments: list[str], message: str
) -> None:
    ended = command("schedules", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1


def test_a_foreign_schedule_does_not_exist(command: Command, ledger: Ledger) -> None:
    create = ["schedules", "create", "records", "--format", "csv", "--cadence", "daily", "--json"]
    refused = command(*create, "--scope", "b", "--viewer-scope", "a")
    assert refused.code == 2
    assert "not one of yours" in refused.err
    id = command(*create, "--scope", "b").json["id"]
    for arguments in (["pause"], ["resume"], ["run-now"], ["delete", "--yes"], ["change", "--at", "01:00"]):
        name, *more = arguments
        foreign = command("schedules", name, id, *more, "--viewer-scope", "a")
        assert (foreign.code, foreign.err) == (1, f"Error: There is no scheduled export {id}.\n")
    assert command("schedules", "--json", "list", "--viewer-scope", "a", "--json").json == []
    assert ledger.find() == []
