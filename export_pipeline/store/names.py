"""File names as people see them when they download: harmless on any system, in any script."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_LENGTH = 180  # bytes of UTF-8; file systems allow 255
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # invisible, but Persian, Hindi and emoji are misspelt without them
# A spreadsheet takes the first of these for a formula, a shell the hyphen for an option; a dot hides a file.
_LEADING = "=+-@＝＋－＠."


def safe_file_name(name: str) -> str:
    """`name` with everything replaced by `_` that a file system, shell, header or eye trips over.

    That is control and invisible characters (bidi overrides among them), lone surrogates, line
    separators and `<>:"/\\|?*`. A leading dot or formula sign gets a `_` before it. At most 180 bytes
    of UTF-8 remain, the extension among them.
    """
    name = "".join("_" if unicodedata.category(c) in _INVISIBLE and c not in _JOINERS else c for c in name)
    name = _FORBIDDEN.sub("_", name).strip()
    name = name.rstrip(". ") or "export"
    if name[0] in _LEADING:
        name = "_" + name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 20:
        stem, extension = name, ""
    room = _LENGTH - len((dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + (dot + extension if extension else "")


def content_disposition(file_name: str) -> str:
    """The header that makes a browser save a download as `file_name` (RFC 6266, RFC 5987). ASCII."""
    name = safe_file_name(file_name)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().replace("%", "_").strip()
    if plain.startswith("."):
        plain = f"export{plain}"  # nothing of the name itself is ASCII
    plain = safe_file_name(plain)  # again: the full-width ＂ and ／ have only now become " and /
    exact = quote(name, safe="!#$&+^`|")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
