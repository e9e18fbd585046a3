"""Hides credentials in messages: those of drivers repeat parts of the URL that they were given."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

_HIDDEN = "***"
_LEAST_LENGTH = 4  # a shorter secret stands in too many words to be hidden wherever it stands
_NAMES = r"(?:ssl)?password|passwd|pwd|passfile|\w{0,50}secret\w{0,50}|\w{0,50}token"
# Up to the last @, as nobody knows what of it a password with an @ of its own is.
# What stands in examples of ours is no secret.
_USER_INFO = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,40}://[^:/?#@\s\"']{0,200}:)(?!password@)[^\s\"']{0,500}@", re.IGNORECASE
)
_PARAMETER = re.compile(rf"\b({_NAMES})(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,)'\"]+)", re.IGNORECASE)
_secrets: set[str] = set()


class RedactedError(Exception):
    """An error whose message shows no credentials."""

    def __init__(self, message: str = "") -> None:
        super().__init__(hide_credentials(message))


def hide_credentials(text: str) -> str:
    """Return a text with `***` for passwords: in URLs, after `password=`, and those remembered."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _PARAMETER.sub(rf"\1\2{_HIDDEN}", _USER_INFO.sub(rf"\1{_HIDDEN}@", text))


def remember_credentials(url: str) -> None:
    """Hide the passwords of a URL from now on, in whatever form a message has them."""
    found = _USER_INFO.search(url)
    password = found[0][len(found[1]) : -1] if found else ""
    # What stands behind an @ of the password is taken for the beginning of the host.
    tails = [f"{password[match.end() :]}@" for match in re.finditer(r"[@/?#]", password)]
    given = [value for name, value in parse_qsl(url.partition("?")[2]) if re.fullmatch(_NAMES, name, re.I)]
    _secrets.update(
        secret for secret in (password, unquote(password), *tails, *given) if len(secret) >= _LEAST_LENGTH
    )
