"""The mail server in EXPORT_SMTP_URL: host, port, login and encryption."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

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
