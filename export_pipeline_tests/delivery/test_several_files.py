"""One mail for the formats of a schedule's run, and recipients who unsubscribe."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.delivery.subscriptions import (
    find_subscription,
    list_unsubscribed,
    resubscribe,
    unsubscribe,
)
from export_pipeline.jobs import Job
from export_pipeline.jobs.tables import jobs
from export_pipeline.schedules.cadence_requests import newest_window
from export_pipeline.schedules.editing import create_schedule, delete_schedule
from export_pipeline_tests.delivery.exports import Exports
from export_pipeline_tests.delivery.mail_server import MailServer
from export_pipeline_tests.delivery.test_messages import text

ANN, BEN = "ann@example.org", "ben@example.org"
MONDAY = datetime(2026, 2, 2, 6, tzinfo=UTC)


def scheduled(exports: Exports) -> str:
    chosen = {"dataset": "takeoff", "format": "csv", "scope": "a", "cadence": "weekly"}
    return create_schedule(exports.engine, chosen, datetime(2026, 1, 1, tzinfo=UTC)).id


def of_the_run(exports: Exports, schedule_id: str, job: Job, run: datetime = MONDAY) -> Job:
    with exports.engine.begin() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(scheduled_for=run))
    return job


def made(exports: Exports, schedule_id: str, name: str, key: str, **more: Any) -> Job:
    job = exports.completed([ANN], file_name=name, schedule_id=schedule_id, window_key=key, **more)
    return of_the_run(exports, schedule_id, job)


def test_all_formats_come_in_one_mail_once_all_are_made(exports: Exports, server: MailServer) -> None:
    schedule_id = scheduled(exports)
    second = made(exports, schedule_id, "orders.json", "weekly/2026-01-26/json", content=b"[]")
    waiting = exports.ledger.request(
        "takeoff", "csv", scope="a", recipients=[ANN], schedule_id=schedule_id, window_key="weekly/2026-01-26"
    )
    of_the_run(exports, schedule_id, waiting)
    assert exports.deliver().sent == 0  # the first format is not made yet
    exports.ledger.canceled(waiting.id)
    third = made(exports, schedule_id, "orders.xlsx", "weekly/2026-01-26/excel", content=b"x" * 3)
    other_run = exports.completed([ANN], schedule_id=schedule_id, window_key="weekly/2026-01-19")
    of_the_run(exports, schedule_id, other_run, MONDAY - timedelta(days=7))

    assert exports.deliver().sent == 2
    mail = next(mail for _, mail in server.mails if len(list(mail.iter_attachments())) == 2)
    assert [part.get_filename() for part in mail.iter_attachments()] == ["orders.xlsx", "orders.json"]
    assert exports.statuses(third) == {ANN: "sent"}
    assert exports.statuses(second) == {ANN: "skipped"}
    assert exports.deliver().sent == 0


def test_a_format_that_failed_is_named_in_the_mail(exports: Exports, server: MailServer) -> None:
    schedule_id = scheduled(exports)
    made(exports, schedule_id, "orders.csv", "weekly/2026-01-26")
    failed = exports.failed([ANN], schedule_id=schedule_id, window_key="weekly/2026-01-26/x")
    of_the_run(exports, schedule_id, failed)
    assert exports.deliver().sent == 2
    notice, ready = sorted((mail for _, mail in server.mails), key=lambda mail: str(mail["Subject"]))
    assert str(notice["Subject"]).startswith("Export failed")
    assert "Not made: csv" in text(ready)
    assert [part.get_filename() for part in ready.iter_attachments()] == ["orders.csv"]


def test_the_mail_names_account_period_and_filters(exports: Exports, server: MailServer) -> None:
    known = {"scope_name": "Corner shop", "period": "2026-01-26 to 2026-02-01"}
    filters = {
        "status": {"in": ["PAID", "OPEN"]},
        "paid_on": {"range": {"from": "2026-01-26"}},
        "total": {"min": 5},
    }
    options = {"filters_display": {"total": "large ones"}}
    exports.completed([ANN], title="Orders", filters=filters, options=options, **known)
    exports.completed([BEN], title="Orders", rows=0, **known)
    assert exports.deliver().sent == 2
    mail = server.to(ANN)
    assert mail["Subject"] == (
        "Export ready: Orders (Corner shop, 2026-01-26 to 2026-02-01, "
        "paid on: from 2026-01-26; status: PAID, OPEN; total: large ones)"
    )
    for line in (
        "Scope: Corner shop",
        "Period: 2026-01-26 to 2026-02-01",
        "Filters: paid on: from 2026-01-26; status: PAID, OPEN; total: large ones",
    ):
        assert line in text(mail)
    assert server.to(BEN)["Subject"] == "Orders (Corner shop, 2026-01-26 to 2026-02-01): no rows"


@pytest.mark.parametrize(
    ("filters", "options", "words"),
    [
        ({"a": {}, "b": None, "c": {"equals": None}, "d": {"range": {"from": None}}}, {}, None),
        ({"a": {}}, {"filters_display": {"a": "large ones"}}, "a: large ones"),
        ({"a": {"equals": ""}, "b": {"in": []}, "c": False}, {}, 'a: ""; b: none; c: false'),
        ({"a": 5, "b": ["x", None]}, {"filters_display": "large"}, "a: 5; b: x, null"),
        ({"a": 5}, {"filters_display": {"a": {"b": 1}}}, "a: 5"),
        ({"a": 5}, {"filters_display": ["a"]}, "a: 5"),
    ],
)
def test_filters_of_any_form_are_words_or_left_out(
    exports: Exports, server: MailServer, filters: dict[str, Any], options: dict[str, Any], words: str | None
) -> None:
    exports.completed([ANN], title="Orders", filters=filters, options=options)
    assert exports.deliver().sent == 1
    _, label, rest = text(server.to(ANN)).partition("Filters: ")
    assert (rest.partition("\n")[0] if label else None) == words


def test_files_that_do_not_all_fit_are_linked(exports: Exports, server: MailServer) -> None:
    schedule_id = scheduled(exports)
    made(exports, schedule_id, "large.csv", "weekly/2026-01-26", content=b"x" * 9_000)
    made(exports, schedule_id, "small.json", "weekly/2026-01-26/json", content=b"y" * 10)
    assert exports.deliver(mail_attach_bytes=1_000, api_url="https://exports.example.org").sent == 1
    mail = server.to(ANN)
    assert [part.get_filename() for part in mail.iter_attachments()] == ["small.json"]
    assert "small.json is attached" in text(mail)
    assert "Download large.csv here:\nhttps://exports.example.org/d/" in text(mail)


def test_who_unsubscribes_gets_no_more_mails_and_the_others_do(exports: Exports, server: MailServer) -> None:
    schedule_id = scheduled(exports)
    first = exports.completed([ANN, BEN], schedule_id=schedule_id, window_key="weekly/2026-01-26")
    assert exports.deliver(api_url="https://exports.example.org").sent == 2
    mail = server.to(ANN)
    address = mail["List-Unsubscribe"].strip("<>")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert address in text(mail)
    assert address != server.to(BEN)["List-Unsubscribe"].strip("<>")

    subscription = find_subscription(exports.engine, address.rpartition("/")[2])
    assert subscription == (schedule_id, ANN, "takeoff")
    for _ in range(2):
        unsubscribe(exports.engine, schedule_id, ANN)
    again = exports.completed([ANN.upper(), BEN], schedule_id=schedule_id, window_key="weekly/2026-02-02")
    assert exports.deliver().sent == 1
    assert exports.statuses(again)[BEN] == "sent"
    assert sorted(exports.statuses(again).values()) == ["sent", "skipped"]
    assert exports.statuses(first) == {ANN: "sent", BEN: "sent"}

    once = exports.completed([ANN])  # asked for by hand: no subscription
    assert exports.deliver(api_url="https://exports.example.org").sent == 1
    assert exports.statuses(once) == {ANN: "sent"}
    assert "List-Unsubscribe" not in server.mails[-1][1]
    assert list_unsubscribed(exports.engine, schedule_id) == [ANN]
    assert resubscribe(exports.engine, schedule_id, ANN.upper())
    assert not resubscribe(exports.engine, schedule_id, ANN)


def test_who_unsubscribed_gets_no_mail_of_a_schedule_that_is_deleted_meanwhile(
    exports: Exports, server: MailServer
) -> None:
    schedule_id = scheduled(exports)
    exports.completed([ANN, BEN], schedule_id=schedule_id, window_key="weekly/2026-01-26")
    assert exports.deliver(api_url="https://exports.example.org").sent == 2
    of_ann, of_ben = (server.to(to)["List-Unsubscribe"].strip("<>").rpartition("/")[2] for to in (ANN, BEN))
    unsubscribe(exports.engine, schedule_id, ANN)
    last = exports.completed([ANN, BEN], schedule_id=schedule_id, window_key="weekly/2026-02-02")
    delete_schedule(exports.engine, schedule_id)
    assert exports.deliver(api_url="https://exports.example.org").sent == 1
    assert exports.statuses(last) == {ANN: "skipped", BEN: "sent"}
    assert "List-Unsubscribe" in server.mails[-1][1]
    for mail_id, recipient in ((of_ann, ANN), (of_ben, BEN)):  # the links of its mails work on
        assert find_subscription(exports.engine, mail_id) == (schedule_id, recipient, "takeoff")
    assert newest_window(exports.engine, "takeoff", "weekly") is None  # it was no window of the cadence


@pytest.mark.parametrize("mail_id", ["", "x", "0" * 32, "00000000-0000-0000-0000-000000000000", "' OR 1=1"])
def test_nobody_is_unsubscribed_by_guessing(exports: Exports, mail_id: str) -> None:
    assert find_subscription(exports.engine, mail_id) is None


def test_a_plain_request_s_mail_names_no_format_that_was_not_made(
    exports: Exports, server: MailServer
) -> None:
    exports.completed([ANN])
    assert exports.deliver().sent == 1
    assert "Not made" not in text(server.to(ANN))


@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_format_that_was_made_later_is_mailed_once_and_alone(
    exports: Exports, server: MailServer, late: int
) -> None:
    schedule_id = scheduled(exports)
    names = ["a.csv", "b.json", "c.xlsx"]
    keys = ["weekly/2026-01-26", "weekly/2026-01-26/b", "weekly/2026-01-26/c"]
    for number in {0, 1, 2} - {late}:
        made(exports, schedule_id, names[number], keys[number])
    assert exports.deliver().sent == 1
    made(exports, schedule_id, names[late], keys[late])
    assert exports.deliver().sent == 1
    assert exports.deliver().sent == 0
    sent = [[part.get_filename() for part in mail.iter_attachments()] for _, mail in server.mails]
    assert sent == [[name for name in names if name != names[late]], [names[late]]]


def test_files_for_other_recipients_are_not_gathered(exports: Exports, server: MailServer) -> None:
    schedule_id = scheduled(exports)
    made(exports, schedule_id, "a.csv", "weekly/2026-01-26")
    other = exports.completed(
        [BEN], file_name="b.json", schedule_id=schedule_id, window_key="weekly/2026-01-26/b"
    )
    of_the_run(exports, schedule_id, other)
    assert exports.deliver().sent == 2
    for address, name in ((ANN, "a.csv"), (BEN, "b.json")):
        assert [part.get_filename() for part in server.to(address).iter_attachments()] == [name]


def test_a_mail_that_waits_is_not_sent_to_who_unsubscribes_meanwhile(
    exports: Exports, server: MailServer
) -> None:
    schedule_id = scheduled(exports)
    job = made(exports, schedule_id, "a.csv", "weekly/2026-01-26")
    server.on_recipient = lambda address: "451 try later"
    assert exports.deliver().postponed == 1
    unsubscribe(exports.engine, schedule_id, ANN)
    server.on_recipient = lambda address: None
    exports.age("next_at", 3_600)
    assert exports.deliver().sent == 0
    assert exports.statuses(job) == {ANN: "skipped"}
    failed = exports.failed([ANN], "key:app", schedule_id=schedule_id, window_key="weekly/2026-02-02")
    assert exports.deliver().sent == 0
    assert exports.statuses(failed) == {ANN: "skipped"}


def test_an_owner_gets_a_few_notices_about_a_run_and_not_thousands(
    exports: Exports, server: MailServer
) -> None:
    schedule_id = scheduled(exports)
    for number in range(25):
        job = exports.failed(
            [], "ops@example.org", schedule_id=schedule_id, window_key=f"weekly/2026-01-26/csv/{number}"
        )
        with exports.engine.begin() as connection:
            values = {"scheduled_for": MONDAY, "format": f"f{number}"}
            connection.execute(
                sa.update(jobs).where(jobs.c.id == job.id).values(scheduled_for=values["scheduled_for"])
            )
        exports.deliver()
    assert 1 <= server.received["ops@example.org"] <= 20
