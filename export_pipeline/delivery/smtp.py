"""An SMTP session, and the meaning of the server's replies for a mail.

A mail is sent to one recipient at a time: nobody sees the other recipients, each reply of the server is about
one recipient, and a server's limit of recipients does not matter.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from export_pipeline.delivery.addresses import Address, header_text
from export_pipeline.redaction import RedactedError

_COMMAND_SECONDS = 60.0
_BODY_SECONDS = 300.0
ANSWER_SECONDS = 300.0
"""Time to wait for the reply to a complete mail. It is long, because sending again could deliver a copy."""

_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_TOO_LARGE = 552


Tls = Literal["at once", "required", "offered", "never"]

_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server and its login.

    Attributes:
        tls: Use of TLS: `at once` (implicit TLS), `required` (STARTTLS, else no mail is sent), `offered`
            (STARTTLS if the server offers it) or `never`.
    """

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    tls: Tls

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_smtp_url(url: str) -> Server:
    """Parse a URL such as `smtp://user:password@host:587?starttls=required` or `smtps://…:465`.

    Raises:
        ValueError: the URL is malformed. The message repeats no part of it, as it may contain a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        user, password = parts.username, parts.password
    except ValueError:
        raise ValueError("is not a URL such as smtp://user:password@host:587") from None
    if parts.scheme not in _PORTS or not host or parts.path.strip("/") or parts.fragment:
        raise ValueError(
            "must be smtp://user:password@host:587 or smtps://user:password@host:465, with %40 for an @ "
            "and %2F for a / in the password"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    starttls = options.pop("starttls", "offered")
    if options:
        raise ValueError("takes no option after the ? but starttls")
    if starttls not in ("required", "offered", "never"):
        raise ValueError("takes starttls=required, offered or never")
    if parts.scheme == "smtps" and "starttls" in parts.query:
        raise ValueError("takes no starttls with smtps://, which is encrypted from the start")
    if bool(user) != bool(password):
        raise ValueError("names only one of user and password; give both or neither")
    user, password = (unquote(text) if text else None for text in (user, password))
    if not all(text is None or (text.isascii() and text.isprintable()) for text in (user, password)):
        raise ValueError("has a user or password that is not plain ASCII, which mail servers do not take")
    tls: Tls = "at once"
    if parts.scheme == "smtp":
        tls = "required" if starttls == "required" else "never" if starttls == "never" else "offered"
    return Server(host, port or _PORTS[parts.scheme], user, password, tls)


class ServerError(RedactedError):
    """Raised when the server is unavailable or accepts no mail from us at all. The mail is not at fault."""


class TemporaryError(RedactedError):
    """Raised when this mail was not delivered, but a retry may succeed."""


class RejectedError(RedactedError):
    """Raised when the server rejects this mail or its recipient permanently."""


class TooLargeError(RejectedError):
    """Raised when the server rejects the mail because of its size."""


class AnswerLostError(RedactedError):
    """Raised when the server got the whole mail, but its reply was lost."""


class Connection:
    """A connection to a mail server, opened on first use and reopened when it was lost.

    Args:
        server: The server.
        sender: The sender's address, to which the server returns undeliverable mails.
        answer_seconds: Seconds to wait for the reply to a complete mail.
    """

    def __init__(self, server: Server, sender: Address, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._server, self._sender, self._answer_seconds = server, sender, answer_seconds
        self._smtp: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._smtp is not None and kind is None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self._smtp.docmd("QUIT")
        self.close()

    def close(self) -> None:
        """Close the connection without QUIT; the server discards a mail that it has only in part."""
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def max_bytes(self) -> int | None:
        """Return the maximum size of a mail that the server announces, if any. Connects if needed.

        Raises:
            ServerError: the connection failed.
        """
        announced = self._ready().esmtp_features.get("size", "").strip()
        return int(announced) if announced.isdecimal() and int(announced) else None

    def send(self, recipient: Address, mail: bytes, *, before_end: Callable[[], None]) -> str:
        """Send a mail.

        Args:
            recipient: The recipient's address.
            mail: Headers and body in ASCII, with CRLF line ends.
            before_end: Called when the server has everything except the line that ends the mail, and would
                still discard it. If it raises, the connection is closed and the error passed on.

        Returns:
            The server's reply.

        Raises:
            ServerError: the connection failed, or the server accepts no mails from us.
            TemporaryError, RejectedError: the mail was not delivered.
            AnswerLostError: it is unknown whether the mail was delivered.
        """
        smtp = self._smtp or self._ready()
        try:
            self._envelope(smtp, recipient, len(mail))
            self._check_reply(smtp.docmd("DATA"), expected=354)
            self._wait_up_to(_BODY_SECONDS)
            smtp.send(_LEADING_DOT.sub(b"..", mail))
            if not mail.endswith(b"\r\n"):
                smtp.send(b"\r\n")
            before_end()
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            self.close()
            raise TemporaryError(
                f"the connection to {self._server} was lost: {self._reply_text(error)}"
            ) from error
        except (TemporaryError, RejectedError):  # raised before the mail's contents; the transaction is reset
            self._reset(smtp)
            raise
        except BaseException:
            self.close()
            raise
        return self._end(smtp)

    def _end(self, smtp: smtplib.SMTP) -> str:
        try:
            self._wait_up_to(self._answer_seconds)
            smtp.send(b".\r\n")
            answer = smtp.getreply()
            self._wait_up_to(_COMMAND_SECONDS)
        except BaseException as error:
            self.close()
            if isinstance(error, smtplib.SMTPException | OSError):
                text = self._reply_text(error)
                raise AnswerLostError(
                    f"{self._server} had the whole mail when the connection was lost: {text}"
                ) from error
            raise
        if answer[0] == _TOO_LARGE or b"5.3.4" in answer[1]:
            raise TooLargeError(self._reply_text(answer))
        try:
            self._check_reply(answer, expected=250)
        except TemporaryError:
            if not 400 <= answer[0] < 500:  # not a valid SMTP reply
                self.close()
                raise AnswerLostError(f"{self._server} answered {self._reply_text(answer)}") from None
            raise
        return self._reply_text(answer)

    def _envelope(self, smtp: smtplib.SMTP, recipient: Address, size: int) -> None:
        options = [f"size={size}"] if smtp.has_extn("size") else []
        if not (self._sender.local.isascii() and recipient.local.isascii()):
            if not smtp.has_extn("smtputf8"):
                raise RejectedError(f"{self._server} takes no addresses beyond ASCII before the @")
            options += ["SMTPUTF8", "BODY=8BITMIME"]
        answer = smtp.mail(self._sender.spec, options)
        if answer[0] == _TOO_LARGE:
            raise TooLargeError(self._reply_text(answer))
        if answer[0] >= 500:
            raise ServerError(
                f"the mail server {self._server} takes no mail from EXPORT_MAIL_FROM "
                f"{self._sender.spec}: {self._reply_text(answer)}"
            )
        self._check_reply(answer, expected=250)
        self._check_reply(smtp.rcpt(recipient.spec), expected=250)

    def _check_reply(self, answer: tuple[int, bytes], *, expected: int) -> None:
        """Raise TemporaryError or RejectedError, unless the reply has the expected code."""
        code, _ = answer
        if code == expected or (expected == 250 and code == 251):  # 251: will forward
            return
        if code == 421:
            self.close()
        if 500 <= code < 600:
            raise RejectedError(self._reply_text(answer))
        raise TemporaryError(self._reply_text(answer))

    def _reset(self, smtp: smtplib.SMTP) -> None:
        """Reset the mail transaction (RSET), so that the next mail can be sent on this connection."""
        if self._smtp is None:
            return
        try:
            if smtp.rset()[0] != 250:
                self.close()
        except (smtplib.SMTPException, OSError):
            self.close()

    def _wait_up_to(self, seconds: float) -> None:
        if self._smtp is not None and self._smtp.sock is not None:
            self._smtp.sock.settimeout(seconds)

    def _ready(self) -> smtplib.SMTP:
        if self._smtp is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                if self._smtp.noop()[0] == 250:
                    return self._smtp
            self.close()  # servers close connections that were idle or sent many mails
        self._smtp = self._connect()
        return self._smtp

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        smtp: smtplib.SMTP | None = None
        try:
            if server.tls == "at once":
                smtp = smtplib.SMTP_SSL(
                    server.host, server.port, timeout=_COMMAND_SECONDS, context=ssl.create_default_context()
                )
            else:
                smtp = smtplib.SMTP(server.host, server.port, timeout=_COMMAND_SECONDS)
            if smtp.sock is not None:
                # The last line of a mail is a packet of its own; Nagle's algorithm would delay it by 40 ms.
                smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            smtp.ehlo_or_helo_if_needed()
            self._secure(smtp)
            if server.user and server.password:
                smtp.login(server.user, server.password)
        except (smtplib.SMTPException, OSError, ServerError) as error:
            if smtp is not None:
                smtp.close()
            if isinstance(error, ServerError):
                raise
            raise ServerError(self._explain(error)) from error
        return smtp

    def _secure(self, smtp: smtplib.SMTP) -> None:
        server = self._server
        if server.tls in ("offered", "required") and smtp.has_extn("starttls"):
            smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo()
        elif server.tls == "required":
            raise ServerError(f"the mail server {server} offers no STARTTLS, which EXPORT_SMTP_URL requires")
        elif server.tls == "offered" and server.password and server.host not in _LOCAL_HOSTS:
            raise ServerError(
                f"the mail server {server} offers no STARTTLS, and a password is not sent readable by all; "
                "use smtps://, or starttls=never where the network is safe"
            )

    def _explain(self, error: Exception) -> str:
        reply = self._reply_text(error)
        if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
            return (
                f"the mail server {self._server} refuses user {self._server.user} or the password "
                f"({reply}); correct EXPORT_SMTP_URL"
            )
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return (
                f"the mail server {self._server} lets nobody log in here ({reply}); correct EXPORT_SMTP_URL"
            )
        if isinstance(error, ssl.SSLError):
            return (
                f"the encryption of the mail server {self._server} cannot be trusted ({reply}); "
                "SSL_CERT_FILE names the file of an authority of your own"
            )
        return f"the mail server {self._server} does not answer ({reply})"

    def _reply_text(self, what: Exception | tuple[int, bytes]) -> str:
        """Return a reply or an error as one line, without the password."""
        if isinstance(what, smtplib.SMTPResponseException):
            what = (what.smtp_code, what.smtp_error if isinstance(what.smtp_error, bytes) else b"")
        text = f"{what[0]} {what[1].decode(errors='replace')}" if isinstance(what, tuple) else str(what)
        if self._server.password:
            text = text.replace(self._server.password, "…")
        return header_text(text or type(what).__name__, 300)
