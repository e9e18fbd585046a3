"""Read the small parts of a workbook whole."""

from __future__ import annotations

from typing import Any
from zipfile import BadZipFile, ZipFile

_LARGEST = 256 << 20  # bytes


def read_xml(archive: ZipFile, part: str) -> Any:
    """Return the root of a part's XML (lxml). Nothing outside the part is read.

    Raises:
        KeyError: There is no such part.
        BadZipFile: It is too large to be read whole.
        SyntaxError: It is not well-formed.
    """
    from lxml import etree

    if archive.getinfo(part).file_size > _LARGEST:
        raise BadZipFile(f"{part} is too large")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    return etree.fromstring(archive.read(part), parser)


def column_number(letters: str) -> int:
    """Return the number of a column, counted from 0: 0 for A, 26 for AA."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1
