import email.policy
import hashlib
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.delivery.addresses import parse_address
from export_pipeline.delivery.contents import (
    Attachment,
    Contents,
    encoded_bytes,
    failure_contents,
    file_contents,
)
from export_pipeline.delivery.messages import add_recipient, render_message
from export_pipeline.store.file_names import safe_file_name
from export_pipeline_tests.delivery.exports import Exports
from export_pipeline_tests.delivery.mail_server import MailServer

_SENDER = parse_address("Exporte für alle <exports@example.org>")
_SAID: dict[str, Any] = {
    "title": "Orders",
    "window": "2026-01-31",
    "empty": False,
    "attached": [],
    "links": [("orders.csv", "https://files.example.org/x?a=1&b=2")],
    "link_ends": "2026-02-07 10:00 UTC",
    "warnings": ["3 cells were cut"],
    "facts": [("Rows", "1,234")],
    "job_id": "8c1d",
}
_ID = "<0123456789abcdef0123456789abcdef01234567@a-rather-long-name-of-a-domain.exports.example.org>"


def read(mail: bytes) -> EmailMessage:
    message: Any = BytesParser(policy=email.policy.default).parsebytes(mail)
    for part in message.walk():
        assert not part.defects
        assert not any(header.defects for header in part.values())
    return message  # type: ignore[no-any-return]


def text(message: EmailMessage, kind: str = "plain") -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_a_mail_has_the_text_of_its_contents() -> None:
    mail = read(render_message(Contents("file", "Export ready: Orders", _SAID), _SENDER))
    assert text(mail) == (
        "Your export “Orders” is ready.\n\n  Rows: 1,234\n\n"
        "Download it here:\nhttps://files.example.org/x?a=1&b=2\n"
        "The link works until 2026-02-07 10:00 UTC. Please do not pass it on.\n\n"
        "Please note:\n  - 3 cells were cut\n\n"
        "--\nThis mail was sent by a program; nobody reads answers to it. Export 8c1d\n"
    )
    assert '<a href="https://files.example.org/x?a=1&amp;b=2">Download orders.csv</a>' in text(mail, "html")


def test_data_in_a_mail_are_never_markup() -> None:
    bad = '<script>"x"</script><img src=x>'
    messages = _SAID | {
        "title": bad,
        "window": bad,
        "links": [(bad, "https://x")],
        "warnings": [bad],
        "facts": [(bad, bad)],
    }
    for template, more in (("file", {}), ("failure", {"error": bad})):
        html = text(read(render_message(Contents(template, bad, messages | more), _SENDER)), "html")
        assert "<script" not in html
        assert "<img" not in html
        assert "&lt;script&gt;" in html


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    title=st.text(max_size=300),
    name=st.text(max_size=120),
    recipient=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="<>@"), max_size=120),
    content=st.binary(max_size=2000),
)
def test_any_text_comes_through_and_none_makes_a_header(
    title: str, name: str, recipient: str, content: bytes
) -> None:
    from export_pipeline.delivery.addresses import header_text

    subject = header_text(f"Export ready: {title}", 150)
    attachment = Attachment(content, safe_file_name(name), "text/csv; charset=utf-8")
    whole = render_message(
        Contents("file", subject, _SAID | {"title": header_text(title, 120)}, [attachment]), _SENDER
    )
    to = parse_address(f"{recipient} <ann@example.org>")
    whole = add_recipient(whole, to, _ID)
    assert whole.isascii()
    assert max(len(line) for line in whole.split(b"\r\n")) <= 998  # RFC 5322
    assert b"\n" not in whole.replace(b"\r\n", b"")
    mail = read(whole)
    ours = "Message-ID Date To From Subject Auto-Submitted X-Auto-Response-Suppress MIME-Version Content-Type"
    assert sorted(mail.keys()) == sorted(ours.split())
    assert mail["Message-ID"] == _ID
    assert [address.addr_spec for address in mail["To"].addresses] == ["ann@example.org"]
    assert " ".join(mail["Subject"].split()) == subject
    (attached,) = mail.iter_attachments()
    assert hashlib.sha256(attached.get_payload(decode=True)).digest() == hashlib.sha256(content).digest()  # type: ignore[arg-type]
    assert attached.get_filename() == safe_file_name(name)
    assert header_text(title, 120) in text(mail) or not title.strip()


def test_the_size_of_an_attachment_is_known_beforehand() -> None:
    def length(size: int) -> int:
        attachment = Attachment(b"x" * size, "x.bin", "application/zip")
        return len(render_message(Contents("file", "x", _SAID, [attachment]), _SENDER))

    for size in (1, 56, 57, 58, 5700, 123_457):
        assert 0 <= encoded_bytes(size) - (length(size) - length(0)) < 78


def test_a_mail_has_the_facts_and_warnings_of_the_manifest(exports: Exports, server: MailServer) -> None:
    warnings = tuple(f"Column {n}:\r\nBcc: x@example.org was cut" for n in range(30))
    exports.completed(
        ["a@example.org"], rows=1_234_567, warnings=warnings, title="Aufträge\r\nBcc: y@example.org"
    )
    assert exports.deliver().sent == 1
    mail = server.to("a@example.org")
    assert mail["Subject"] == "Export ready: Aufträge Bcc: y@example.org"
    assert mail["Bcc"] is None
    assert "Rows: 1,234,567" in text(mail)
    assert "Data as of: 2026-01-31 12:00 UTC" in text(mail)
    assert "  - Column 19: Bcc: x@example.org was cut\n  - and 10 more\n" in text(mail)


def test_a_damaged_manifest_does_not_hold_up_a_mail(exports: Exports, server: MailServer) -> None:
    from export_pipeline.store import manifest_key

    job = exports.completed(["a@example.org"])
    exports.store.put_bytes(b"{", manifest_key(str(job.file_key)), media_type="application/json")
    contents = file_contents(job, exports.store, exports.settings, 7_000_000)
    assert contents.attachments
    assert contents.subject == "Export ready: Kita Süd 漢字.csv"


def test_a_failure_without_a_message_says_so(exports: Exports) -> None:
    job = exports.failed(["a@example.org"])
    contents = failure_contents(exports.ledger.failed(exports.ledger.retry(job.id).current, "x", ""))
    assert contents.variables["error"] == "The reason is not known."
