"""Sentences that say what somebody gave, or what went wrong: one readable line, and where it ends."""

from __future__ import annotations

_MOST = 2_000
_END = 600


def one_line(text: str) -> str:
    """The text, with what does not print escaped (a line break as \\n), a long one without its middle."""
    if len(text) > _MOST:
        text = f"{text[: _MOST - _END]} … {text[-_END:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sentence(text: str) -> str:
    """The text with a full stop where it has no end of its own, so that another sentence can follow."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
