import hashlib
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
import sqlalchemy as sa

from export_pipeline.delivery import queue, send
from export_pipeline.delivery.send import MailSettingsError
from export_pipeline.jobs import EventKind, Job, LedgerError, LedgerUnavailableError
from export_pipeline.jobs.link_tokens import open_link
from export_pipeline.store import open_store
from export_pipeline_tests.delivery.exports import Exports, settings_of
from export_pipeline_tests.delivery.mail_server import DROP, MailServer, mail_server
from export_pipeline_tests.delivery.proxy import cutting
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.s3 import S3Server
from export_pipeline_tests.store.putting import put


def test_each_recipient_gets_the_file_once(exports: Exports, server: MailServer) -> None:
    content = random.Random(1).randbytes(200_000) + b"\n.\r\n..\r\nlast\r"
    job = exports.completed(["Jürgen Ü <a@example.org>", "b@example.org", "B <B@EXAMPLE.org>"], content)
    assert exports.deliver().sent == 2
    assert exports.deliver().sent == 0
    assert server.received == {"a@example.org": 1, "b@example.org": 1}
    mail = server.to("a@example.org")
    (attached,) = mail.iter_attachments()
    assert hashlib.sha256(attached.get_payload(decode=True)).hexdigest() == job.sha256  # type: ignore[arg-type]
    assert attached.get_filename() == "Kita Süd 漢字.csv"
    assert attached.get_content_type() == "text/csv"
    assert mail["To"].addresses[0].display_name == "Jürgen Ü"
    assert mail["From"].addresses[0].display_name == "Exporte für alle"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert abs(parsedate_to_datetime(mail["Date"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert exports.statuses(job) == {"a@example.org": "sent", "b@example.org": "sent"}
    events = [event for event in exports.ledger.events(job.id) if event.kind is EventKind.SENT]
    assert [event.details["message_id"] for event in events] == [
        mail["Message-ID"] for _, mail in server.mails
    ]
    assert len({event.details["message_id"] for event in events}) == 2
    assert server.connections == 1


def test_a_refused_recipient_fails_alone(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org", "gone@example.org", "c@example.org"])
    server.on_recipient = lambda address: "550 5.1.1 no such user" if address.startswith("gone") else None
    counts = exports.deliver()
    assert (counts.sent, counts.failed, counts.problem) == (2, 1, None)
    assert server.received == {"a@example.org": 1, "c@example.org": 1}
    assert exports.statuses(job)["gone@example.org"] == "failed"
    (failed,) = queue.find_mails(exports.engine, job_id=job.id, status=["failed"])
    assert failed.error_message == "550 5.1.1 no such user"
    server.on_recipient = lambda address: None
    queue.resend(exports.engine, job.id, "Gone@example.org")
    assert exports.deliver().sent == 1
    assert server.to("gone@example.org")["Message-ID"] == failed.message_id
    with pytest.raises(LedgerError, match=r"a@example\.org is sent"):
        queue.resend(exports.engine, job.id)


@pytest.mark.parametrize("moment", ["on_sender", "on_recipient", "on_mail"])
def test_not_now_is_tried_again_later(exports: Exports, server: MailServer, moment: str) -> None:
    job = exports.completed(["a@example.org"])
    answers = iter(["451 4.7.1 greylisted", None])
    setattr(server, moment, lambda address: next(answers))
    assert exports.deliver().postponed == 1
    assert exports.statuses(job) == {"a@example.org": "pending"}
    assert exports.deliver().sent == 0  # it waits
    exports.age("next_at", 61)
    assert exports.deliver().sent == 1
    assert server.received == {"a@example.org": 1}


def test_the_tries_of_a_mail_come_to_an_end(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org"])
    server.on_recipient = lambda address: "451 4.7.1 not now"
    for _ in range(queue.MAX_TRIES):
        assert exports.statuses(job).get("a@example.org", "pending") == "pending"
        exports.deliver()
        exports.age("next_at", 8 * 3600 + 1)
    assert exports.statuses(job) == {"a@example.org": "failed"}
    waits = [queue.backoff(tries) for tries in range(1, queue.MAX_TRIES)]
    assert waits == sorted(waits)
    assert timedelta(days=1) < sum(waits, timedelta()) < timedelta(days=2)


def test_a_connection_lost_before_the_end_is_tried_again(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org"], random.Random(2).randbytes(8_000_000))
    answers = iter([DROP, None])
    server.on_recipient = lambda address: next(answers)
    assert exports.deliver().postponed == 1
    exports.age("next_at", 61)
    with cutting(server.url, after_bytes=100_000) as url:  # in the middle of the attachment
        assert exports.deliver(smtp_url=url, mail_attach_bytes=20_000_000).postponed == 1
    assert server.mails == []
    exports.age("next_at", 181)
    server.on_recipient = lambda address: None
    assert exports.deliver().sent == 1
    assert server.received == {"a@example.org": 1}
    assert exports.statuses(job) == {"a@example.org": "sent"}


def test_an_answer_that_was_lost_waits_for_an_operator(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org", "b@example.org"])
    server.on_mail = lambda address: DROP if address == "a@example.org" else None
    counts = exports.deliver()
    assert (counts.unknown, counts.sent) == (1, 1)
    exports.age("next_at", 10**6)
    exports.age("claimed_at", 10**6)
    server.on_mail = lambda address: None
    assert exports.deliver().sent == 0
    assert server.received == {"a@example.org": 1, "b@example.org": 1}
    (unknown,) = queue.find_mails(exports.engine, status=["unknown"])
    assert unknown.recipient == "a@example.org"
    assert "may have been delivered" in str(unknown.error_message)
    assert [mail.id for mail in queue.resend(exports.engine, job.id)] == [unknown.id]
    assert exports.deliver().sent == 1
    assert len({mail["Message-ID"] for address, mail in server.mails if address == "a@example.org"}) == 1


def test_a_server_that_takes_nothing_fails_no_mail(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org", "b@example.org"])
    counts = exports.deliver(smtp_url="smtp://127.0.0.1:1")
    assert "127.0.0.1:1 does not answer" in str(counts.problem)
    server.on_sender = lambda address: "550 5.7.1 not from here"
    counts = exports.deliver()
    assert "takes no mail from EXPORT_MAIL_FROM exports@example.org: 550 5.7.1" in str(counts.problem)
    assert set(exports.statuses(job).values()) == {"pending"}
    assert {mail.tries for mail in queue.find_mails(exports.engine)} == {0}
    server.on_sender = lambda address: None
    assert exports.deliver().sent == 2
    assert set(server.received.values()) == {1}


def test_the_error_about_a_wrong_password_does_not_hold_it(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    exports.completed(["a@example.org"])
    with mail_server(password="right-horse") as server:
        wrong = server.url.replace("right-horse", "wrong-horse")
        counts = exports.deliver(smtp_url=wrong)
        assert "refuses user app or the password" in str(counts.problem)
        assert "correct EXPORT_SMTP_URL" in str(counts.problem)
        assert exports.deliver(smtp_url=server.url).sent == 1
    output = caplog.text + str(counts) + repr(settings_of(wrong))
    output += str(exports.database.run("SELECT error_message FROM export_deliveries"))
    assert "wrong-horse" not in output
    assert "a@example.org" not in caplog.text


def test_a_connection_that_the_server_closed_in_between_is_opened_again(
    exports: Exports, server: MailServer
) -> None:
    exports.completed([f"{n}@example.org" for n in range(4)])
    answers = iter([None, "421 4.7.0 enough for one connection", None, None, None])
    server.on_recipient = lambda address: next(answers)
    counts = exports.deliver()
    assert (counts.sent, counts.postponed) == (3, 1)
    exports.age("next_at", 61)
    assert exports.deliver().sent == 1
    assert set(server.received.values()) == {1}


def test_a_large_file_goes_as_a_link(exports: Exports, server: MailServer, tmp_path: Path) -> None:
    # 57 bytes are 78 as an attachment.
    small, large = (
        exports.completed(["s@example.org"], b"x" * 5700),
        exports.completed(["l@example.org"], b"x" * 5701),
    )
    assert exports.deliver(mail_attach_bytes=7800).sent == 2
    assert len(list(server.to("s@example.org").iter_attachments())) == 1
    mail = server.to("l@example.org")
    assert list(mail.iter_attachments()) == []
    link = exports.store.signed_url(str(large.file_key), expires_seconds=60)
    for part in ("plain", "html"):
        body = mail.get_body((part,))
        assert body is not None
        assert link in body.get_content()
    assert "file://" not in str(exports.database.run("SELECT * FROM export_deliveries"))
    assert exports.statuses(small) == {"s@example.org": "sent"}


@pytest.mark.parametrize("announced", [True, False])
def test_a_mail_that_is_too_large_for_the_server_goes_as_a_link(exports: Exports, announced: bool) -> None:
    exports.completed(["a@example.org"], b"x" * 300_000)
    with mail_server(size=100_000 if announced else None) as server:
        if not announced:
            answers = iter(["552 5.3.4 message too big", None])
            server.on_mail = lambda address: next(answers)
        assert exports.deliver(smtp_url=server.url).sent == 1
        assert list(server.to("a@example.org").iter_attachments()) == []


def test_a_link_is_signed_when_it_is_sent_and_kept_nowhere(
    exports: Exports, server: MailServer, bucket: Bucket, s3: S3Server
) -> None:
    exports.store = open_store(bucket.url, endpoint_url=s3.endpoint_url, clients=lambda _: s3.client())
    soon = datetime.now(UTC) + timedelta(minutes=30)
    attached = exports.completed(["a@example.org"], b"x" * 1000)
    exports.completed(["b@example.org"], b"y" * 2000, expires_at=soon)
    assert exports.deliver(mail_attach_bytes=1500).sent == 2
    (file,) = server.to("a@example.org").iter_attachments()
    assert file.get_payload(decode=True) == b"x" * 1000
    text = _text(server, "b@example.org")
    (link,) = [line for line in text.split() if line.startswith("http")]
    assert f"works until {soon:%Y-%m-%d %H:%M} UTC" in text  # with the file, though links live for 7 days
    with urlopen(link) as answer:
        assert answer.read() == b"y" * 2000
        assert answer.headers["Content-Disposition"].startswith("attachment")
    for table in ("export_deliveries", "export_events", "export_jobs"):
        assert "Signature" not in str(exports.database.run(f"SELECT * FROM {table}"))
    assert exports.statuses(attached) == {"a@example.org": "sent"}


def test_links_lead_to_the_web_server_that_serves_the_folder(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@example.org"])
    assert exports.deliver(mail_attach_bytes=0, public_url="https://files.example.org/x/").sent == 1
    assert f"https://files.example.org/x/{job.file_key}" in _text(server, "a@example.org")


def test_with_an_http_service_mails_carry_its_links_which_live_as_long_as_the_file(
    exports: Exports, server: MailServer
) -> None:
    soon = datetime.now(UTC) + timedelta(days=30)
    job = exports.completed(["a@example.org"], expires_at=soon)
    assert exports.deliver(mail_attach_bytes=0, api_url="https://exports.example.org").sent == 1
    text = _text(server, "a@example.org")
    (link,) = [line for line in text.split() if line.startswith("https://exports.example.org/d/")]
    opened = open_link(exports.engine, link.rpartition("/")[2])
    assert opened is not None
    assert (opened[1].id, opened[2]) == (job.id, True)
    assert f"works until {soon:%Y-%m-%d %H:%M} UTC" in text


def test_recipients_outside_the_allowed_domains_get_nothing(exports: Exports, server: MailServer) -> None:
    job = exports.completed(["a@EXAMPLE.org", "b@other.example", "c@sub.example.org", "d@evilexample.org"])
    counts = exports.deliver(mail_domains=("example.org",))
    assert (counts.sent, counts.refused) == (1, 3)
    assert server.received == {"a@example.org": 1}
    assert set(exports.statuses(job).values()) == {"sent", "refused"}
    (refused,) = [mail for mail in queue.find_mails(exports.engine) if mail.recipient == "b@other.example"]
    assert refused.error_message == "mails go to example.org only (EXPORT_MAIL_DOMAINS), not to other.example"
    queue.resend(exports.engine, job.id, "b@other.example")
    assert exports.deliver(mail_domains=("example.org",)).sent == 0  # asking again changes no rule
    assert server.received == {"a@example.org": 1}


def test_recipients_that_are_none_are_refused_and_stop_nobody(exports: Exports, server: MailServer) -> None:
    bad = [
        "a@example.org\r\nBcc: x@example.org",
        "x@example.org>\nRCPT TO:<y@example.org",
        "nobody",
        7,
        None,
        "",
        {"a": 1},
    ]
    job = exports.completed([*bad, "ok@example.org"])
    counts = exports.deliver()
    assert (counts.sent, counts.refused) == (1, len(bad))
    assert server.received == {"ok@example.org": 1}
    assert all(
        "\n" not in str(mail.error_message) for mail in queue.find_mails(exports.engine, job_id=job.id)
    )


def test_a_mail_says_that_there_are_no_rows(exports: Exports, server: MailServer) -> None:
    exports.completed(["send@example.org"], rows=0, title="Orders")
    exports.completed(["say@example.org"], rows=0, options={"empty": "say"})
    skipped = exports.completed(["skip@example.org"], rows=0, options={"empty": "skip"})
    full = exports.completed(["full@example.org"], rows=3, options={"empty": "skip"})
    counts = exports.deliver()
    assert (counts.sent, counts.skipped) == (3, 1)
    assert server.to("send@example.org")["Subject"] == "Orders: no rows"
    assert "no rows matched" in _text(server, "send@example.org")
    assert len(list(server.to("send@example.org").iter_attachments())) == 1
    assert list(server.to("say@example.org").iter_attachments()) == []
    assert "file://" not in _text(server, "say@example.org")
    assert exports.statuses(skipped) == {"skip@example.org": "skipped"}
    assert exports.statuses(full) == {"full@example.org": "sent"}


def test_the_owner_gets_one_notice_for_each_failed_attempt(exports: Exports, server: MailServer) -> None:
    owned = exports.failed(["team@example.org"], requested_by="Owner <owner@example.org>")
    exports.failed(["both@example.org"], requested_by="ann")
    assert exports.deliver().sent == 2
    assert exports.deliver().sent == 0
    assert server.received == {"owner@example.org": 1, "both@example.org": 1}
    assert "There is no column <prise>; did you mean price?" in _text(server, "owner@example.org")
    html = server.to("owner@example.org").get_body(("html",))
    assert html is not None
    assert "&lt;prise&gt;" in html.get_content()
    again = exports.ledger.retry(owned.id)
    exports.ledger.failed(again.current, "source_down", "The database does not answer.")
    assert exports.deliver().sent == 1
    first, second = (mail for address, mail in server.mails if address == "owner@example.org")
    assert first["Message-ID"] != second["Message-ID"]


def test_the_owner_of_a_failed_schedule_gets_a_notice_even_without_recipients(
    exports: Exports, server: MailServer
) -> None:
    sql = "INSERT INTO scheduled_exports (dataset, format, scope, cadence) VALUES (?, ?, ?, ?) RETURNING id"
    schedule = str(exports.database.run(sql, "takeoff", "csv", "a", "daily")[0][0])
    exports.failed([], requested_by="owner@example.org", schedule_id=schedule, window_key="2026-01-30")
    nobody = exports.failed([], schedule_id=schedule, window_key="2026-01-31")
    counts = exports.deliver()
    assert (counts.sent, counts.skipped) == (1, 1)
    assert "Period: 2026-01-30" in _text(server, "owner@example.org")
    assert exports.statuses(nobody) == {"": "skipped"}  # written down, so that it is not looked at again
    assert exports.deliver() == send.Counts()


def test_news_that_are_old_are_not_sent(exports: Exports, server: MailServer) -> None:
    retried, deleted = exports.failed(["a@example.org"]), exports.completed(["b@example.org"])
    gone, long_ago = exports.completed(["c@example.org"]), exports.completed(["d@example.org"])
    expired = exports.completed(["e@example.org"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    exports.database.age("completed_at", 8 * 86_400, f"id = '{long_ago.id}'")
    assert exports.deliver(smtp_url="smtp://127.0.0.1:1").problem
    exports.ledger.retry(retried.id)
    exports.ledger.delete(deleted.id, exports.store.delete)
    exports.store.delete(str(gone.file_key))
    exports.ledger.expire(expired.id, exports.store.delete)
    counts = exports.deliver()
    assert (counts.sent, counts.skipped, counts.failed) == (0, 2, 2)
    assert exports.reason(expired) == "the export is expired"
    assert exports.reason(retried) == "a new attempt was started"
    assert exports.reason(deleted) == "the job was deleted"
    assert exports.reason(gone) == "the file is no longer in the store"
    assert exports.statuses(long_ago) == {}
    assert server.mails == []


def test_a_file_that_is_not_the_one_that_was_made_is_not_sent(
    exports: Exports, server: MailServer, tmp_path: Path
) -> None:
    job = exports.completed(["a@example.org"])
    (tmp_path / "other").write_bytes(b"somebody else's rows")
    put(exports.store, tmp_path / "other", str(job.file_key), media_type="text/csv", file_name="x.csv")
    assert exports.deliver().postponed == 1
    assert "not the one that was made" in exports.reason(job)
    assert server.mails == []


def test_jobs_without_recipients_cost_nothing(exports: Exports, server: MailServer) -> None:
    exports.completed([])
    exports.failed([], requested_by="owner@example.org")
    assert exports.deliver() == send.Counts()
    assert exports.database.run("SELECT count(*) FROM export_deliveries") == [(0,)]
    assert server.connections == 0


def test_a_ledger_that_is_away_when_the_answer_comes_is_waited_for(
    exports: Exports, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = exports.completed(["a@example.org"])
    real, calls = queue.mark_sent, iter(range(3))

    def sent(engine: sa.Engine, mail: queue.Mail, job: Job, answer: str) -> None:
        call = next(calls)
        if call > 0:
            real(engine, mail, job, answer)
        if call < 2:  # at first it was not committed, then it was but nobody heard
            raise LedgerUnavailableError("gone")

    monkeypatch.setattr(queue, "mark_sent", sent)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None)
    monkeypatch.setattr(send, "time", clock)
    assert exports.deliver().sent == 1
    assert exports.statuses(job) == {"a@example.org": "sent"}
    assert [event.kind for event in exports.ledger.events(job.id)].count(EventKind.SENT) == 1


def test_the_error_for_a_missing_mail_server_names_the_setting(exports: Exports) -> None:
    with pytest.raises(MailSettingsError, match="EXPORT_SMTP_URL is not set"):
        exports.deliver(smtp_url=None)


def _text(server: MailServer, address: str) -> str:
    body = server.to(address).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_a_file_of_another_scope_is_never_sent(exports: Exports, server: MailServer) -> None:
    """Even where a row of an older ledger, or somebody with every right, says that it is the job's."""
    theirs = exports.completed(["a@example.org"])
    assert exports.deliver().sent == 1
    forged = exports.ledger.request("takeoff", "csv", scope="b", recipients=["thief@example.org"])
    exports.database.run("UPDATE export_jobs SET status = 'processing', run_id = 'x' WHERE id = ?", forged.id)
    exports.database.run(
        "UPDATE export_jobs SET status = 'completed', file_key = ?, sha256 = ?, completed_at = created_at WHERE id = ?",
        theirs.file_key,
        theirs.sha256,
        forged.id,
    )
    assert exports.deliver().failed == 1
    assert exports.reason(forged) == "the file in the store is not of this dataset and scope"
    assert server.received == {"a@example.org": 1}
