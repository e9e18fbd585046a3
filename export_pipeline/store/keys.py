"""Keys: the places of exports in a store. Different exports never share a key, whatever their names.

Every name becomes one segment of ASCII letters, digits, `-`, `_`, `.`, `%` and `~`:

- Any other character, and `~` itself, is percent-encoded as UTF-8 with capital hex digits.
- A leading dot is encoded, so no segment is `.`, `..` or a hidden file. In the names of datasets,
  windows and exports every dot is encoded: a folder never has the name of a file beside it, and
  (`a.csv`, `gz`) never meets (`a`, `csv.gz`).
- A name whose encoding is longer than 180 characters is cut and ends with `~` and half of its SHA-256.
- `all` stands for "no scope"; a scope called "all" is encoded as `%61ll`.

The parts of an export in parts lie in a folder beside the place of its file, and its manifest lists them.

Keys are case-sensitive: "ACME" is not "acme". On a file system that ignores case, the folder store encodes
capital letters in its file names, so keys stay apart there too.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from urllib.parse import quote

MANIFEST_SUFFIX = ".manifest.json"
NO_SCOPE = "all"

_SEGMENT_LENGTH = 180
_DIGEST_LENGTH = 32
_KEY_LENGTH = 900  # S3 allows 1024 bytes; the rest is reserved for the store's prefix
_FILE_NAME_LENGTH = 255
_SEGMENT = r"[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PART_KEY = re.compile(r"(.+\.([a-z0-9]+))\.parts/([0-9a-f]{12})([0-9a-f]{12})?/[0-9]{12,}\.\2")
_EXTENSION = re.compile(r"[a-z0-9]{1,16}(?:\.[a-z0-9]{1,16})?")


def request_key(scope: str | None, export_id: str, extension: str) -> str:
    """Return the key of a requested export: `exports/{scope}/{export_id}.{extension}`.

    Args:
        scope: The scope of the rows; None if the dataset has no scopes.
        export_id: Id of the job.
        extension: With or without the leading dot, e.g. ".csv".

    Raises:
        ValueError: A name is empty, or the extension is invalid.
    """
    return f"exports/{scope_segment(scope)}/{_segment(export_id, 'export id')}.{_extension(extension)}"


def window_key(scope: str | None, dataset: str, cadence: str, window: str, extension: str) -> str:
    """Return the key of a window's export: `exports/{scope}/{dataset}/{cadence}/{window}.{extension}`.

    Args:
        scope: As for `request_key`.
        dataset: Name of the dataset.
        cadence: on_demand, daily, weekly or monthly.
        window: Name of the window, e.g. "2026-01-31". The same window always has the same key.
        extension: As for `request_key`.

    Raises:
        ValueError: A name is empty, or the extension is invalid.
    """
    folder = f"exports/{scope_segment(scope)}/{_segment(dataset, 'dataset')}/{_segment(cadence, 'cadence')}"
    return f"{folder}/{_segment(window, 'window')}.{_extension(extension)}"


def manifest_key(key: str) -> str:
    """Return the key of a file's manifest, which lies beside the file."""
    return key + MANIFEST_SUFFIX


def part_key(key: str, attempt: str, first_row: int) -> str:
    """Return the key of a part of the export `key`: `{key}.parts/{attempt}/{first_row}.{extension}`.

    Args:
        attempt: Name from `attempt_name`.
        first_row: Number of its first row in the export, from 1.
    """
    return f"{key}.parts/{attempt}/{first_row:012}.{key.rpartition('.')[2]}"


def attempt_name(key: str, deployment: str | None) -> str:
    """Return a name that no other attempt at the export `key` has, so that older parts stay whole.

    Args:
        deployment: Id of the deployment, if known. `is_part_of` recognizes it in the name.
    """
    number = uuid.uuid4().hex[:12]
    return number if deployment is None else number + _sign_attempt(key, number, deployment)


def is_part_of(key: str, deployment: str) -> bool:
    """Return whether a key is that of a part whose name shows that the deployment has made it."""
    part = _PART_KEY.fullmatch(key)
    return part is not None and part[4] == _sign_attempt(part[1], part[3], deployment)


def _sign_attempt(key: str, number: str, deployment: str) -> str:
    return hashlib.sha256(f"{deployment}\n{key}\n{number}".encode()).hexdigest()[:12]


def whole_key(key: str) -> str:
    """Return the key of the export that a part belongs to; any other key is returned as it is."""
    part = _PART_KEY.fullmatch(key)
    return part[1] if part else key


def scope_segment(scope: str | None) -> str:
    """Return the folder name of a scope below `exports/`."""
    if scope is None:
        return NO_SCOPE
    encoded = _encode(scope, "scope")
    if encoded == NO_SCOPE:
        return f"%{ord(NO_SCOPE[0]):02X}{NO_SCOPE[1:]}"
    return _bounded(encoded, scope)


def check_key(key: str) -> str:
    """Return `key` if this module could have made it, or a prefix folder of such a key.

    Raises:
        ValueError: The key is empty, too long or absolute, or has `..`, `//`, hidden or control characters.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a key of the store: {key[:200]!r}")
    if len(key) > _KEY_LENGTH or any(len(segment) > _FILE_NAME_LENGTH for segment in key.split("/")):
        raise ValueError(f"a key of {len(key)} characters is too long: {key[:200]!r}…")
    return key


def _encode(name: str, what: str) -> str:
    if not name:
        raise ValueError(f"an empty {what} cannot be part of a key")
    # A database may contain lone surrogates; "surrogatepass" keeps different ones distinct.
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
