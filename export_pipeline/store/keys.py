"""Keys: where in a store an export lies. Different exports never share a key, whatever their names hold.

Every name becomes one segment of ASCII letters, digits, `-`, `_`, `.`, `%` and `~`:

- Anything else, and `~` itself, is percent-encoded as UTF-8 with capital hex digits.
- A leading dot is encoded, so no segment is `.`, `..` or a hidden file. In the names of datasets,
  windows and exports every dot is: a folder never has the name of a file beside it, and
  (`a.csv`, `gz`) never meets (`a`, `csv.gz`).
- A name whose encoding is longer than 180 characters is cut and ends with `~` and half of its SHA-256.
- No scope is `all`; a scope called "all" is `%61ll`.

Keys tell "ACME" from "acme". On a file system that does not, the folder store encodes capital letters
in its file names, so they stay apart there too.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

MANIFEST_SUFFIX = ".manifest.json"
NO_SCOPE = "all"

_SEGMENT_LENGTH = 180
_DIGEST_LENGTH = 32
_KEY_LENGTH = 900  # S3 allows 1024 bytes; the rest is for the store's own prefix
_FILE_NAME_LENGTH = 255
_SEGMENT = r"[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_EXTENSION = re.compile(r"[a-z0-9]{1,16}(?:\.[a-z0-9]{1,16})?")


def request_key(scope: str | None, export_id: str, extension: str) -> str:
    """The key of an export somebody asked for: `exports/{scope}/{export_id}.{extension}`.

    Args:
        scope: Whose rows these are; None where the dataset has no scope.
        export_id: The job's id.
        extension: With or without the leading dot, e.g. ".csv".

    Raises:
        ValueError: An empty name, or an extension that is none.
    """
    return f"exports/{scope_segment(scope)}/{_segment(export_id, 'export id')}.{_extension(extension)}"


def window_key(scope: str | None, dataset: str, cadence: str, window: str, extension: str) -> str:
    """The key of a window's export: `exports/{scope}/{dataset}/{cadence}/{window}.{extension}`.

    Args:
        scope: As for `request_key`.
        dataset: The dataset's name.
        cadence: on_demand, daily, weekly or monthly.
        window: The window's name, e.g. "2026-01-31". The same window always has the same key.
        extension: As for `request_key`.

    Raises:
        ValueError: An empty name, or an extension that is none.
    """
    folder = f"exports/{scope_segment(scope)}/{_segment(dataset, 'dataset')}/{_segment(cadence, 'cadence')}"
    return f"{folder}/{_segment(window, 'window')}.{_extension(extension)}"


def manifest_key(key: str) -> str:
    """The key of a file's manifest, which lies beside the file."""
    return key + MANIFEST_SUFFIX


def scope_segment(scope: str | None) -> str:
    """The folder of a scope, below `exports/`."""
    if scope is None:
        return NO_SCOPE
    encoded = _encode(scope, "scope")
    if encoded == NO_SCOPE:
        return f"%{ord(NO_SCOPE[0]):02X}{NO_SCOPE[1:]}"
    return _bounded(encoded, scope)


def check_key(key: str) -> str:
    """`key`, if it is one that this module could have made (or a prefix folder of such).

    Raises:
        ValueError: It is empty, too long, absolute, holds `..`, `//`, hidden or control characters.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a key of the store: {key[:200]!r}")
    if len(key) > _KEY_LENGTH or any(len(segment) > _FILE_NAME_LENGTH for segment in key.split("/")):
        raise ValueError(f"a key of {len(key)} characters is too long: {key[:200]!r}…")
    return key


def _encode(name: str, what: str) -> str:
    if not name:
        raise ValueError(f"an empty {what} cannot be part of a key")
    # Lone surrogates can reach us from a database; "surrogatepass" keeps different ones different.
    encoded = quote(name, safe="", errors="surrogatepass").replace("~", "%7E")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _segment(name: str, what: str) -> str:
    return _bounded(_encode(name, what).replace(".", "%2E"), name)


def _bounded(encoded: str, name: str) -> str:
    if len(encoded) <= _SEGMENT_LENGTH:
        return encoded
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    head = encoded[: _SEGMENT_LENGTH - _DIGEST_LENGTH - 1]
    return f"{re.sub('%[0-9A-F]?$', '', head)}~{digest}"


def _extension(extension: str) -> str:
    extension = extension.removeprefix(".")
    if not _EXTENSION.fullmatch(extension) or f".{extension}".endswith(MANIFEST_SUFFIX):
        raise ValueError(f"not a file extension: {extension[:50]!r}")
    return extension
