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


def counts_from_1904(book: Any) -> bool:
    """Return whether the dates of a workbook (the root of its part) are counted from 1904, not 1900."""
    return any(
        properties.get("date1904") in ("1", "true")
        for properties in book.iter("{http://schemas.openxmlformats.org/spreadsheetml/2006/main}workbookPr")
    )


def column_number(letters: str) -> int:
    """Return the number of a column, counted from 0: 0 for A, 26 for AA."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1
