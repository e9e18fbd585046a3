"""A mail server in a process of its own, whose mails outlive it.

python -m export_pipeline_tests.system.mail PORT FOLDER
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections import Counter
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class _Keeper:
    """Writes each mail into a file before it says that it has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.original_content, bytes)
        for address in envelope.rcpt_tos:
            partial = self._folder / f"{secrets.token_hex(8)}.part"
            partial.write_bytes(b"X-To: " + address.encode() + b"\r\n" + envelope.original_content)
            os.rename(partial, partial.with_suffix(".eml"))
        return "250 taken"


def received(folder: Path) -> Counter[tuple[str, str]]:
    """Return the number of mails of each (recipient, Message-ID)."""
    return Counter((mail["X-To"], mail["Message-ID"]) for mail in messages(folder))


def messages(folder: Path) -> list[EmailMessage]:
    """Return all mails; `X-To` is the recipient of each."""
    parser = BytesParser(policy=policy.default)
    return [parser.parsebytes(path.read_bytes()) for path in folder.glob("*.eml")]


def main(port: str, folder: str) -> None:
    """Serve until killed."""
    keeper = _Keeper(Path(folder))
    Controller(
        keeper, hostname="127.0.0.1", port=int(port), data_size_limit=33_554_432, enable_SMTPUTF8=True
    ).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
