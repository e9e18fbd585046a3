import hashlib
import random

from export_pipeline.jobs import Kind
from export_pipeline_tests.delivery.exports import Exports
from export_pipeline_tests.delivery.mail_server import MailServer


def test_each_recipient_gets_the_file_once(exports: Exports, server: MailServer) -> None:
    content = random.Random(1).randbytes(200_000) + b"\n.\r\n..\r\nlast\r"
    job = exports.completed(["Jürgen Ü <a@example.org>", "b@example.org", "B <B@example.org>"], content)
    assert exports.deliver().sent == 2
    assert exports.deliver().sent == 0
    assert server.received == {"a@example.org": 1, "b@example.org": 1}
    mail = server.to("a@example.org")
    (attached,) = mail.iter_attachments()
    assert hashlib.sha256(attached.get_payload(decode=True)).hexdigest() == job.sha256  # type: ignore[arg-type]
    assert attached.get_filename() == "Kita Süd 漢字.csv"
    assert mail["To"].addresses[0].display_name == "Jürgen Ü"
    assert exports.statuses(job) == {"a@example.org": "sent", "b@example.org": "sent"}
    events = [event for event in exports.ledger.events(job.id) if event.kind is Kind.SENT]
    assert [event.details["message_id"] for event in events] == [mail["Message-ID"] for _, mail in server.mails]
    assert server.connections == 1
