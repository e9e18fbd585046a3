"""Text of cells: replace or escape what spreadsheets and XML cannot hold, column by column."""

from __future__ import annotations

import re
from dataclasses import dataclass

from export_pipeline.core.arrow import np, pa, pc
from export_pipeline.core.buffers import bytes_of

INLINE_END = "</t></is></c>"
MAX_TEXT = 32_767  # UTF-16 units in a cell

_ILLEGAL_RE = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffe\\uffff\\ud800-\\udfff]")
_ILLEGAL_RE2 = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"
# Spreadsheets read _x0041_ as "A"; an underscore written as _x005F_ stays an underscore.
_CODED = "_x[0-9A-Fa-f]{4}_"
_CODED_RE = re.compile(_CODED)
_NONCHARACTERS = ("\ufffe".encode(), "\uffff".encode())
_LEGAL_CONTROLS = list(b"\t\n\r")


def clean_text(text: str) -> str:
    """Replace the characters that XML cannot hold."""
    return _ILLEGAL_RE.sub("\ufffd", text)


def xml_text(text: str) -> str:
    """Escape a string as XML element content that a spreadsheet reads back unchanged."""
    text = _ILLEGAL_RE.sub("\ufffd", text)
    if _CODED_RE.search(text):
        text = text.replace("_x", "_x005F_x")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\r", "&#13;")


def xml_attribute(text: str) -> str:
    """Escape a string as the value of an XML attribute in double quotes."""
    text = _ILLEGAL_RE.sub("\ufffd", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace('"', "&quot;")
    return text.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")


def inline_start(style: int) -> str:
    """Return the XML between a cell's reference and its text."""
    return f'" s="{style}" t="inlineStr"><is><t xml:space="preserve">'


def inline_cell(reference: str, style: int, text: str) -> str:
    """Return a whole cell with text."""
    return f'<c r="{reference}{inline_start(style)}{xml_text(text)}{INLINE_END}'


@dataclass(frozen=True, slots=True)
class Clean:
    """Strings without characters that XML cannot hold.

    Attributes:
        array: The strings, not yet escaped.
        replaced: Number of cells that had such characters.
    """

    array: pa.StringArray
    replaced: int


def clean_texts(array: pa.StringArray) -> Clean:
    """Replace characters that are illegal in XML 1.0 with U+FFFD."""
    data = bytes_of(array)
    controls = data[data < 0x20]
    illegal = len(controls) > 0 and not np.isin(controls, _LEGAL_CONTROLS).all()
    if not illegal and (data == _NONCHARACTERS[0][0]).any():
        text = data.tobytes()
        illegal = any(character in text for character in _NONCHARACTERS)
    if not illegal:
        return Clean(array, 0)
    hit = pc.sum(pc.match_substring_regex(array, _ILLEGAL_RE2)).as_py() or 0
    return Clean(pc.replace_substring_regex(array, _ILLEGAL_RE2, "\ufffd"), hit)


def too_long(array: pa.StringArray) -> list[int]:
    """Return the positions of strings with more than 32,767 UTF-16 units."""
    lengths = pc.binary_length(array)
    longest = pc.max(lengths).as_py()
    if longest is None or longest <= MAX_TEXT:
        return []
    # A string's UTF-16 length is between a third of its bytes and its bytes.
    candidates = pc.indices_nonzero(pc.greater(lengths, MAX_TEXT))
    cells = []
    for index in (position.as_py() for position in candidates):
        text = array[index].as_py()
        if len(text) > MAX_TEXT or len(text.encode("utf-16-le")) > 2 * MAX_TEXT:
            cells.append(index)
    return cells


def find_codes(array: pa.StringArray) -> pa.BooleanArray | None:
    """Return a mask of strings with a code like `_x0041_`, which a reader would decode; None if none has."""
    data = text_bytes(array)
    if b"_" not in data or b"_x" not in data:  # a search for one byte is many times faster
        return None
    mask = pc.fill_null(pc.match_substring_regex(array, _CODED), False)
    return mask if pc.any(mask).as_py() else None


def escape(array: pa.StringArray, codes: pa.BooleanArray | None) -> pa.StringArray:
    """Escape strings as content of XML elements; escape codes in the marked ones, keep carriage returns.

    A carriage return is written as a character reference: every XML reader decodes it, but only
    some spreadsheet readers know the `_x000D_` notation.
    """
    if codes is not None:
        array = pc.if_else(codes, pc.replace_substring(array, "_x", "_x005F_x"), array)
    data = text_bytes(array)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
        if character.encode() in data:
            array = pc.replace_substring(array, character, entity)
    return array


def text_bytes(array: pa.StringArray) -> bytes:
    """Return the bytes of all strings of an array, concatenated."""
    if len(array) == 0:
        return b""
    _, offsets, data = array.buffers()
    if data is None:
        return b""
    positions = memoryview(offsets).cast("i")
    first, last = positions[array.offset], positions[array.offset + len(array)]
    return bytes(memoryview(data)[first:last])
