"""The outline of a document: entries that lead to pages, in levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from export_pipeline.formats.pdf.objects import PdfFile, text_string

_MAX_BOOKMARKS = 10_000
"""More entries would only slow readers down."""


@dataclass(slots=True)
class Bookmark:
    """An entry of the outline: its title, the page object it leads to, and the height there in points."""

    title: str
    page: int
    y: float
    children: list[Bookmark] = field(default_factory=list)


class Outline:
    """The entries of a document, in the order in which they are added."""

    def __init__(self) -> None:
        self._bookmarks: list[Bookmark] = []
        self._count = 0

    def add(self, title: str, page: int, y: float, parent: Bookmark | None = None) -> Bookmark | None:
        """Add an entry, below another if that is given; return None if there are 10,000 already.

        Args:
            page: Object number of the page that it leads to.
            y: Height on the page, in points.
        """
        if self._count >= _MAX_BOOKMARKS:
            return None
        self._count += 1
        entry = Bookmark(title, page, y)
        (self._bookmarks if parent is None else parent.children).append(entry)
        return entry

    def write(self, pdf: PdfFile) -> bytes:
        """Write the entries; return those of the document's catalog, empty if there are none."""
        if not self._bookmarks:
            return b""
        root = pdf.reserve()
        first, last = _write_level(pdf, self._bookmarks, root)
        body = b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>"
        pdf.put(body % (first, last, len(self._bookmarks)), root)
        return b"/Outlines %d 0 R/PageMode/UseOutlines" % root


def _write_level(pdf: PdfFile, entries: Sequence[Bookmark], parent: int) -> tuple[int, int]:
    """Write entries beside each other and all below them; return the first and the last object number."""
    first = pdf.reserve(len(entries))
    last = first + len(entries) - 1
    for number, entry in enumerate(entries, first):
        title = text_string(entry.title)
        body = b"<</Title%b/Parent %d 0 R/Dest[%d 0 R/XYZ 0 %g null]" % (title, parent, entry.page, entry.y)
        if number > first:
            body += b"/Prev %d 0 R" % (number - 1)
        if number < last:
            body += b"/Next %d 0 R" % (number + 1)
        if entry.children:
            inner = _write_level(pdf, entry.children, number)
            body += b"/First %d 0 R/Last %d 0 R/Count %d" % (*inner, -len(entry.children))
        pdf.put(body + b">>", number)
    return first, last
