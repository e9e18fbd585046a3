"""Renders mails as bytes, with text, HTML and the attached file, from the templates in `templates/`."""

from __future__ import annotations

from datetime import UTC, datetime
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from export_pipeline.delivery.addresses import Address
from export_pipeline.delivery.contents import Contents

if TYPE_CHECKING:
    from jinja2 import Environment

_POLICY = SMTP.clone(cte_type="7bit")  # every server accepts ASCII


def render_message(contents: Contents, sender: Address, unsubscribe: str | None = None) -> bytes:
    """Return a mail without the headers To, Date and Message-ID, in ASCII with CRLF line ends.

    Args:
        unsubscribe: Address with which the recipient unsubscribes (RFC 8058).
    """
    message = EmailMessage(_POLICY)
    message["From"] = _header(sender)
    message["Subject"] = contents.subject
    message["Auto-Submitted"] = "auto-generated"  # no automatic replies (RFC 3834)
    message["X-Auto-Response-Suppress"] = "All"  # the same for Exchange
    if unsubscribe is not None:
        message["List-Unsubscribe"] = f"<{unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    variables = {**contents.variables, "subject": contents.subject, "unsubscribe": unsubscribe}
    templates = _templates()
    text = templates.get_template(f"{contents.template}.txt").render(variables)
    message.set_content(text.lstrip("\n"), cte="quoted-printable")
    html = templates.get_template(f"{contents.template}.html").render(variables)
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    for attachment in contents.attachments:
        media_type, _, parameter = attachment.media_type.partition(";")
        main, _, sub = media_type.strip().partition("/")
        name, _, value = parameter.strip().partition("=")
        message.add_attachment(
            attachment.content,
            maintype=main,
            subtype=sub,
            filename=attachment.name,
            params={name: value} if name else None,
        )
    return message.as_bytes(policy=_POLICY)


def add_recipient(letter: bytes, recipient: Address, message_id: str) -> bytes:
    """Return the letter with the headers for one recipient, dated now.

    Args:
        message_id: Message-ID with its angle brackets.
    """
    utf8 = not recipient.local.isascii()
    head = EmailMessage(_POLICY.clone(utf8=utf8))
    head["To"] = _header(recipient)
    # The Message-ID is written by hand, as the library would fold a long one and change it.
    fixed = f"Message-ID: {message_id}\r\nDate: {format_datetime(datetime.now(UTC))}\r\n"
    return fixed.encode() + head.as_bytes(policy=head.policy).rstrip(b"\r\n") + b"\r\n" + letter


def _header(address: Address) -> HeaderAddress:
    return HeaderAddress(address.name, address.local, address.domain)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
