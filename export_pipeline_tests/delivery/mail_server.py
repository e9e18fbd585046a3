"""A real mail server for tests, which takes, refuses and drops mails as it is told."""

from __future__ import annotations

import asyncio
import email.policy
import ssl
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from export_pipeline_tests.services.process import free_ports

Answer = Callable[[str], str | None]
"""Return the server's reply to a recipient's address; None accepts it."""

DROP = "drop"
"""An answer that ends the connection without one."""


class MailServer:
    """Keeps every mail that it took over, in order.

    Attributes:
        on_recipient: Asked for each RCPT.
        on_mail: Asked when a whole mail is there; the mail is taken over if it says nothing, or DROP.
        hangs_up: Ends the connection after each mail that it took.
        holding: Cleared, whole mails are taken over but not answered until it is set.
    """

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.raw: list[bytes] = []
        self.on_recipient: Answer = lambda address: None
        self.on_sender: Answer = lambda address: None
        self.on_mail: Answer = lambda address: None
        self.holding = threading.Event()
        self.holding.set()
        self.hangs_up = False
        self.url = ""
        self.connections = 0

    @property
    def received(self) -> Counter[str]:
        """Return the number of mails of each address."""
        return Counter(address for address, _ in self.mails)

    def to(self, address: str) -> EmailMessage:
        """The one mail of an address."""
        (mail,) = [mail for recipient, mail in self.mails if recipient == address]
        return mail

    # --- what aiosmtpd calls ---

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.on_sender(address)
        if answer is None:
            envelope.mail_from = address
        return answer or "250 ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.on_recipient(address)
        if answer is None:
            envelope.rcpt_tos.append(address)
            return "250 ok"
        return await self._answered(server, answer)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.on_mail(envelope.rcpt_tos[0])
        if answer in (None, DROP):
            assert isinstance(envelope.original_content, bytes)
            self.raw.append(envelope.original_content)
            parsed: Any = BytesParser(policy=email.policy.default).parsebytes(envelope.original_content)
            self.mails += [(address, parsed) for address in envelope.rcpt_tos]
        while not self.holding.is_set():
            await asyncio.sleep(0.01)
        if self.hangs_up:
            asyncio.get_running_loop().call_later(0.01, server.transport.close)
        return await self._answered(server, answer or "250 taken")

    async def _answered(self, server: SMTP, answer: str) -> str:
        if answer == DROP:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            await asyncio.sleep(0.05)
        return answer


class _Counting(Controller):
    """Counts connections, so that tests see whether one serves many mails."""

    handler: MailServer

    def factory(self) -> SMTP:
        self.handler.connections += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about passwords without TLS, which here never leave the machine
            return super().factory()


@contextmanager
def mail_server(
    *, password: str | None = None, tls: ssl.SSLContext | None = None, size: int | None = 33_554_432
) -> Iterator[MailServer]:
    """A mail server on a free port of 127.0.0.1.

    Args:
        password: Of the user `app`; None lets everybody in.
        tls: Offers STARTTLS, and takes nothing before it.
        size: The largest mail that it says it takes.
    """
    handler = MailServer()
    (port,) = free_ports(1)

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        right = (data.login, data.password) == (b"app", (password or "").encode())
        return AuthResult(success=right, handled=False)

    options: dict[str, Any] = {"data_size_limit": size, "enable_SMTPUTF8": True}
    if password is not None:
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    if tls is not None:
        options |= {"tls_context": tls, "require_starttls": True}
    controller = _Counting(handler, hostname="127.0.0.1", port=port, **options)
    controller.start()
    handler.connections = 0  # its own to see whether it is up
    user = f"app:{password}@" if password is not None else ""
    handler.url = f"smtp://{user}127.0.0.1:{port}"
    try:
        yield handler
    finally:
        handler.holding.set()
        controller.stop()
