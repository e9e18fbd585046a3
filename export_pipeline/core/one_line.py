"""Text of users and errors as one readable line of limited length, for messages."""

from __future__ import annotations

_MOST = 2_000
_END = 600


def one_line(text: str) -> str:
    """Escape unprintable characters (a line break as \\n), and cut out the middle of a long text."""
    if len(text) > _MOST:
        text = f"{text[: _MOST - _END]} … {text[-_END:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sentence(text: str) -> str:
    """Add a full stop to a text that does not end a sentence yet, so that another sentence can follow."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
