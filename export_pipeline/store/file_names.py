"""File names of downloads: harmless on any system, in any script."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_LENGTH = 180  # bytes of UTF-8; file systems allow 255
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # invisible, but needed to spell Persian, Hindi and emoji
# Spreadsheets read the first of these as a formula, a shell reads a hyphen as an option, a dot hides a file.
_LEADING = "=+-@＝＋－＠."


def safe_file_name(name: str, suffix: str = "") -> str:
    """Replace every character by `_` that is harmful in a file system, shell, header or display.

    Harmful are control and invisible characters (also bidi overrides), lone surrogates, line separators and
    `<>:"/\\|?*`. A leading dot or formula sign gets a `_` before it. The result has at most 180 bytes of
    UTF-8, including the extension.

    Args:
        suffix: Harmless text to put before the extension. It is never cut.
    """
    name = "".join("_" if unicodedata.category(c) in _INVISIBLE and c not in _JOINERS else c for c in name)
    name = _FORBIDDEN.sub("_", name).strip()
    name = name.rstrip(". ") or "export"
    if name[0] in _LEADING:
        name = "_" + name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 20:
        stem, extension = name, ""
    end = suffix + (dot + extension if extension else "")
    return stem.encode()[: _LENGTH - len(end.encode())].decode(errors="ignore") + end


def content_disposition(file_name: str) -> str:
    """Return the header by which a browser saves a download as `file_name` (RFC 6266, RFC 5987). ASCII."""
    name = safe_file_name(file_name)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().replace("%", "_").strip()
    if plain.startswith("."):
        plain = f"export{plain}"  # no character of the name is ASCII
    plain = safe_file_name(plain)  # again: only now have full-width ＂ and ／ become " and /
    exact = quote(name, safe="!#$&+^`|")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
