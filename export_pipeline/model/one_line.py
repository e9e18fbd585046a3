"""Sentences that say what somebody gave, whatever that is: one readable line."""

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
