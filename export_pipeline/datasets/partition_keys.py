"""Partition keys of scopes: how Dagster names the scopes of a dataset."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

MAX_KEY_BYTES = 1_000
"""Maximum length of a scope's partition key: indexes of Dagster's database hold at most twice that."""

_REFUSED = re.compile(r"[%|\x00-\x1f\x7f-\x9f\u2028\u2029]|\.(?=\.\.)")
"""Characters that Dagster rejects in partition keys, its range separator (`...`), and the escape (`%`)."""


_LABELLED = re.compile(r"(?P<label>.+) \((?P<id>[^()]+)\)", re.DOTALL)
_MAX_LABEL = 80
_NOT_SHOWN = {"|", '"', "[", "]", "*", ",", ";"}
"""Characters of names that Dagster rejects, or that mean something in its text fields for partitions."""


def scope_key(scope: str, name: str | None = None) -> str:
    """Return the partition key of a scope: `name (id)`, or the id alone without a name.

    The id is whole, so that a key leads back to its scope whatever the scope is called today. Characters that
    Dagster rejects are escaped as `%XX` in the id, and left out of the name.

    Raises:
        ValueError: the id is empty or too long. The message continues a sentence that begins with the scope.
    """
    key = _REFUSED.sub(lambda bad: f"%{ord(bad[0]):02X}" if bad[0] == "." else quote(bad[0]), scope)
    if not 0 < (size := len(key.encode())) <= MAX_KEY_BYTES:
        raise ValueError(
            f"takes {size:,} bytes as a partition of Dagster, and 1 to {MAX_KEY_BYTES:,} can be used"
        )
    label = "" if name is None or name == scope else label_of_name(name)
    escaped = _without_parentheses(key)
    labelled = f"{label} ({escaped})"
    if label and len(labelled.encode()) <= MAX_KEY_BYTES:
        return labelled
    return escaped if _LABELLED.fullmatch(key) else key


def scopes_definition(dataset: str) -> str:
    """Return the name under which Dagster keeps the partitions of a dataset's scopes."""
    return f"{dataset}{_SCOPES}"


def is_scopes_definition(name: str) -> bool:
    """Return whether a name is that of a dataset's partitions of scopes."""
    return name.endswith(_SCOPES)


_SCOPES = "_scopes"


def labelled_ending(scope: str) -> str:
    """Return the ending of every partition key of a scope with a name."""
    return f" ({_without_parentheses(scope_key(scope))})"


def _without_parentheses(key: str) -> str:
    return key.replace("(", "%28").replace(")", "%29")


def scope_of_key(key: str) -> str:
    """Return the scope of a partition key."""
    labelled = _LABELLED.fullmatch(key)
    return unquote(labelled["id"] if labelled else key)


def label_of_key(key: str) -> str | None:
    """Return the name in a partition key: that of the scope when the partition was added."""
    labelled = _LABELLED.fullmatch(key)
    return labelled["label"] if labelled else None


def label_of_name(name: str) -> str:
    """Return a name as one line without control characters, at most 80 characters, that is no formula."""
    shown = "".join(
        " " if one in _NOT_SHOWN or unicodedata.category(one)[0] in "CZ" else one for one in name[:500]
    )
    text = " ".join(shown.replace("...", "…").split()).lstrip("=+-@＝＋－＠' ")
    return text if len(text) <= _MAX_LABEL else text[: _MAX_LABEL - 1].rstrip() + "…"
