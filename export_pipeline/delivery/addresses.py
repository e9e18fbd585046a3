"""Mail addresses as people write them, parsed strictly to prevent header injection."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_CHARACTERS = 500
"""Maximum length of an address with its name; mail servers accept 254 for the address itself (RFC 5321)."""
MAX_RECIPIENTS = 1_000

_LOCAL = re.compile(r"[^\s\"(),:;<>@\[\]\\.]+(?:\.[^\s\"(),:;<>@\[\]\\.]+)*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # without them Persian, Hindi and emoji are misspelt


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox.

    Attributes:
        name: Name of the person; may be empty.
        local: Part before the `@`; not always ASCII.
        domain: Domain in lower case and ASCII (`xn--…` if internationalized).
    """

    name: str
    local: str
    domain: str

    @property
    def spec(self) -> str:
        """The bare address, `local@domain`."""
        return f"{self.local}@{self.domain}"

    @property
    def mailbox(self) -> str:
        """Key of the mailbox, equal for all spellings; in practice servers ignore the case of addresses."""
        return self.spec.casefold()


def parse_address(text: object) -> Address:
    """Parse an address such as `ann@example.org` or `Ann <ann@example.org>`.

    Raises:
        ValueError: it is not a mail address; the message can follow the address in a sentence.
    """
    if not isinstance(text, str):
        raise ValueError("is not a text")
    if len(text) > MAX_CHARACTERS:  # before the checks of each character
        raise ValueError(f"has {len(text):,} characters, more than the {MAX_CHARACTERS} of any mail address")
    if any(unicodedata.category(c) in _UNSEEN and c not in _JOINERS for c in text):
        raise ValueError("holds a line break or another invisible character")
    name, spec = _parts(text.strip())
    local, at, domain = spec.rpartition("@")
    if at and local.startswith('"'):
        raise ValueError("has quotes before its @; only addresses without them can be mailed")
    if not at or not _LOCAL.fullmatch(local) or len(local.encode()) > 64:
        several = "; write each of several as an entry of its own" if {",", ";"} & set(spec) else ""
        raise ValueError(f"is not a mail address such as ann@example.org{several}")
    return Address(header_text(name, 100), local, parse_domain(domain))


def _parts(text: str) -> tuple[str, str]:
    """Split `Name <address>` into the name and the bare address; without angle brackets the name is empty."""
    name, bracket, rest = text.partition("<")
    if not bracket or not rest.endswith(">"):
        return "", text
    return name.strip().strip('"').strip(), rest[:-1].strip()


def check_addresses(texts: Sequence[object]) -> None:
    """Check that all strings are mail addresses, and that there are not too many.

    Raises:
        ValueError: one is not a mail address, which the message names, or there are more than MAX_RECIPIENTS.
    """
    if len(texts) > MAX_RECIPIENTS:
        raise ValueError(f"there are {len(texts):,} addresses; at most {MAX_RECIPIENTS:,} are mailed")
    for text in texts:
        try:
            parse_address(text)
        except ValueError as error:
            shown = header_text(text, 80) if isinstance(text, str) else text
            raise ValueError(f"{shown!r} {error}") from None


def parse_domain(text: str) -> str:
    """Return a domain in lower case and ASCII.

    Raises:
        ValueError: the string is not a domain.
    """
    domain = text.strip().lower()
    if len(domain) > 253:
        raise ValueError(f"has the impossible domain {header_text(text, 80)!r}")
    if not domain.isascii():
        import idna

        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            raise ValueError(f"has the impossible domain {header_text(text, 80)!r}") from None
    if len(domain) > 253 or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        raise ValueError(f"has the impossible domain {header_text(text, 80)!r}")
    return domain


def header_text(text: str, length: int) -> str:
    """Make a string safe for a header or log: line breaks and invisible characters become spaces; cut it."""
    seen = "".join(" " if unicodedata.category(c) in _UNSEEN and c not in _JOINERS else c for c in text)
    line = " ".join(seen.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
