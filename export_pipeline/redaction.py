"""Hides credentials and values of rows in messages: drivers repeat both in their errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, unquote

from export_pipeline.database_faults import hide_values, is_driver_error

_HIDDEN = "***"
_LEAST_LENGTH = 4  # a shorter secret occurs in too many words to be replaced everywhere
_NAMES = r"\w{0,50}password|passwd|pwd|passfile|\w{0,50}secret\w{0,50}|\w{0,50}token|x-amz-signature"
# Matches up to the last @, as a password may contain an @ itself.
# The word `password` of our own examples is not a secret.
_USER_INFO = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,40}://[^:/?#@\s\"']{0,200}:)(?!password@)[^\s\"']{0,500}@", re.IGNORECASE
)
_PASSWORD = re.compile(r"[^:]+://[^:/?#@]*:(.+)@", re.DOTALL)
"""The password of a URL alone, which may contain blanks too."""
_PARAMETER = re.compile(rf"\b({_NAMES})(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,)'\"]+)", re.IGNORECASE)
_secrets: set[str] = set()


class RedactedError(Exception):
    """An error whose message shows no credentials."""

    def __init__(self, message: str = "") -> None:
        super().__init__(hide_credentials(message))


def hide_credentials(text: str) -> str:
    """Replace passwords in a string with `***`: in URLs, after `password=`, and all remembered ones."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = re.sub(_whole_words(secret), _HIDDEN, text)
    return _PARAMETER.sub(rf"\1\2{_HIDDEN}", _USER_INFO.sub(rf"\1{_HIDDEN}@", text))


def hide_in_error(error: BaseException) -> None:
    """Hide credentials and quoted values in the messages of an error and of those that led to it.

    Tracebacks show them all.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        hide_values(one)
        one.args = tuple(hide_credentials(value) if isinstance(value, str) else value for value in one.args)
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions


def summarize_error(error: Exception) -> str:
    """Return an error's class, with its message unless Python or a library may have put a cell into it."""
    hide_in_error(error)
    is_known = isinstance(error, OSError) or is_driver_error(error) or _is_own(error)
    return f"{type(error).__name__}: {error}" if is_known else type(error).__name__


def _is_own(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] == __name__.partition(".")[0]


@contextmanager
def redacted_errors() -> Iterator[None]:
    """Hide credentials and quoted values in an error that leaves the block: Dagster keeps its traceback."""
    try:
        yield
    except BaseException as error:
        hide_in_error(error)
        raise


def _whole_words(secret: str) -> str:
    """Match a secret, but not inside a longer word: the password `user` must not damage the name `users`."""
    before = r"(?<!\w)" if re.match(r"\w", secret) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", secret) else ""
    return before + re.escape(secret) + after


def remember_credentials(url: str) -> None:
    """Hide the passwords of a URL from now on, in every form that a message may contain."""
    credentials = _PASSWORD.match(url)
    password = credentials[1] if credentials else ""
    # Drivers may take the part of a password after an @ for the beginning of the host.
    tails = [f"{password[match.end() :]}@" for match in re.finditer(r"[@/?#]", password)]
    heads = [password[: match.start()] for match in re.finditer("@", password)]  # the last @ is a parameter's
    given = [value for name, value in parse_qsl(url.partition("?")[2]) if re.fullmatch(_NAMES, name, re.I)]
    _secrets.update(
        secret
        for secret in (password, *map(unquote, (password, *heads)), *tails, *given)
        if len(secret) >= _LEAST_LENGTH
    )


def remember_secret(secret: str) -> None:
    """Hide a secret from now on."""
    if len(secret) >= _LEAST_LENGTH:
        _secrets.add(secret)
