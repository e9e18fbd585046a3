"""The workbook's shared strings: repeated strings are written once."""

from __future__ import annotations

from collections.abc import Iterator

from export_pipeline.formats.excel.text import xml_text

MAX_STRINGS = 50_000
MAX_LENGTH = 1_000  # characters; longer strings are never shared, so that the table stays small


class SharedStrings:
    """Distinct strings by index, bounded in count and length."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, text: str) -> int | None:
        """Return the string's index; None if the table is full or the string too long to share."""
        known = self._numbers.get(text)
        if known is None and len(text) <= MAX_LENGTH and len(self._numbers) < MAX_STRINGS:
            known = self._numbers[text] = len(self._numbers)
        return known

    def xml(self) -> Iterator[bytes]:
        """Yield the part `sharedStrings.xml`, piece by piece."""
        count = len(self._numbers)
        yield (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
            f'uniqueCount="{count}">'
        ).encode()
        for text in self._numbers:
            yield f'<si><t xml:space="preserve">{xml_text(text)}</t></si>'.encode()
        yield b"</sst>"
