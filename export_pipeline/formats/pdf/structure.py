"""The structure tree of a tagged PDF (PDF/UA-1): headings, paragraphs, tables, and their marks on pages."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import count
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from export_pipeline.formats.pdf.objects import PACKED, PdfFile, text_string
from export_pipeline.formats.pdf.row_elements import (
    RowRun,
    cell_references,
    object_streams,
    row_references,
)

MAX_CELLS = 50_000
"""Cells of a document that is tagged by default: the tree costs 5 to 8 bytes for each."""
MARK = b"/TD<</MCID ?0000>>BDC "
"""Begins a cell whose number on its page is not known yet; see `Structure.number_cells`."""
LINK_MARK = b"/Link<</MCID ?0000>>BDC "
"""The same for a cell that leads to another place."""
SUM_MARK = b"/TD<</MCID ?0000/Sum.%b 1>>BDC "
"""The same for a number that is added up, with its column."""
ARTIFACT = b"/Artifact BMC "
_DIGITS = 5
"""Digits of a mark's number: the largest page has room for some 16,000 cells."""


class Element:
    """An element of the tree: its type, its parent, and its children or marks in order."""

    __slots__ = ("attributes", "kids", "marks", "number", "object", "parent", "type")

    def __init__(self, type: bytes, parent: Element | None, attributes: bytes = b"") -> None:
        self.type = type
        self.parent = parent
        self.attributes = attributes
        self.kids: list[Element | RowRun] = []
        self.marks: list[tuple[int, int]] = []
        self.object: tuple[int, int] | None = None
        self.number = 0
        if parent is not None:
            parent.kids.append(self)


class Structure:
    """The tree of one document, and the marks of its pages."""

    def __init__(self) -> None:
        self.document = Element(b"Document", None)
        self._pages: defaultdict[int, list[Element | RowRun]] = defaultdict(list)
        self._marks: defaultdict[int, int] = defaultdict(int)
        self._objects: dict[int, Element] = {}

    def add(self, type: bytes, parent: Element | None = None, attributes: bytes = b"") -> Element:
        """Add an element below another one, by default below the document."""
        return Element(type, parent or self.document, attributes)

    def mark(self, element: Element, page: int) -> int:
        """Return the number of a new mark on a page (its object number), whose content is the element's."""
        number = self._marks[page]
        self._marks[page] += 1
        self._pages[page].append(element)
        element.marks.append((page, number))
        return number

    def wrap(self, content: bytes, element: Element | None, page: int) -> bytes:
        """Return content marked as an element's, or, without an element, as decoration."""
        if element is None:
            return b"/Artifact BMC\n%bEMC\n" % content
        return b"/%b<</MCID %d>>BDC\n%bEMC\n" % (element.type, self.mark(element, page), content)

    def add_object(self, element: Element, number: int, page: int) -> int:
        """Make an annotation (its object number) on a page part of an element; return its key in the tree."""
        element.object = (number, page)
        self._objects[number] = element
        return number

    def open_figure(self, description: str, box: tuple[float, float, float, float], page: int) -> bytes:
        """Return what begins the content of a figure, which `EMC` ends; `box` is left, bottom, right and top
        in points.
        """
        attributes = b"/Alt%b/A<</O/Layout/BBox[%.2f %.2f %.2f %.2f]>>" % (text_string(description), *box)
        figure = self.add(b"Figure", attributes=attributes)
        return b"/Figure<</MCID %d>>BDC\n" % self.mark(figure, page)

    def number_cells(self, content: bytes, cells: list[Element], page: int) -> bytes:
        """Return rows' content with the numbers of its cells, which are these elements in this order."""
        first = self._marks[page]
        for cell in cells:
            self.mark(cell, page)
        return _number(content, first, len(cells))

    def add_rows(self, content: bytes, table: Element, rows: int, columns: int, page: int) -> bytes:
        """Add rows, each with so many cells, to a table; return their content with the cells' numbers."""
        first = self._marks[page]
        self._marks[page] += rows * columns
        run = RowRun(page, first, rows, columns)
        self._pages[page].append(run)
        table.kids.append(run)
        return _number(content, first, rows * columns)

    def page_entries(self, page: int) -> bytes:
        """Return the entries of a page's dictionary: its key in the parent tree is its object number."""
        return b"/StructParents %d/Tabs/S" % page

    def write(self, pdf: PdfFile) -> bytes:
        """Write the tree; return the catalog's entries."""
        root = pdf.reserve()
        elements = [self.document]
        for element in elements:  # grows while its children are appended
            elements += [kid for kid in element.kids if isinstance(kid, Element)]
        first = pdf.reserve(len(elements))
        for number, element in zip(count(first), elements, strict=False):
            element.number = number
        runs = []
        for element in elements:
            for kid in element.kids:
                if isinstance(kid, RowRun):
                    kid.table, kid.first_row = element.number, pdf.reserve(kid.rows)
                    runs.append(kid)
        for run in runs:
            run.first_cell = pdf.reserve(run.cells)
        parents = {key: element.number for key, element in self._objects.items()}
        pages = sorted(self._pages.items())
        parents |= {page: pdf.reserve() for page, _ in pages}
        tree = b"<</Type/StructTreeRoot/K %d 0 R/ParentTree<</Nums[%b]>>>>" % (
            self.document.number,
            b" ".join(b"%d %d 0 R" % pair for pair in sorted(parents.items())),
        )
        rows = row_references(runs)
        pdf.put_packed(root, [tree, *(_body(element, root, rows) for element in elements)])
        for stream in object_streams(runs, PACKED):
            pdf.put_objects(stream.first, stream.objects, stream.head, stream.bodies, stream.period)
        if pages:
            references = dict(zip(map(id, runs), cell_references(runs), strict=True))
            bodies = [
                b"[%b]"
                % b"".join(
                    references[id(marked)] if isinstance(marked, RowRun) else b" %d 0 R" % marked.number
                    for marked in marks
                )
                for _, marks in pages
            ]
            period = len(next(iter(references.values()))) // runs[0].cells if runs else 0
            pdf.put_packed(parents[pages[0][0]], bodies, period)
        return b"/MarkInfo<</Marked true>>/StructTreeRoot %d 0 R" % root


def _number(content: bytes, first: int, cells: int) -> bytes:
    """Return content whose marks of cells have numbers from `first` on. Only these marks have a `?`."""
    data = np.frombuffer(content, np.uint8).copy()
    places = np.flatnonzero(data == ord("?"))
    data[places[:, None] + np.arange(_DIGITS)] = _numerals()[first : first + cells]
    return data.tobytes()


@cache
def _numerals() -> NDArray[np.uint8]:
    """Return the digits of every mark's number."""
    numbers = np.arange(10**_DIGITS)[:, None] // 10 ** np.arange(_DIGITS - 1, -1, -1) % 10
    return (numbers + ord("0")).astype(np.uint8)


def _body(element: Element, root: int, rows: Iterator[bytes]) -> bytes:
    """Return an element's dictionary; `rows` has the references to the rows of the next runs."""
    parent = element.parent.number if element.parent else root
    if len(element.marks) == 1 and not element.kids and element.object is None:  # nearly all elements
        page, number = element.marks[0]
        attributes = element.attributes
        return b"<</S/%b/P %d 0 R/Pg %d 0 R/K %d%b>>" % (element.type, parent, page, number, attributes)
    parts = [b"<</Type/MCR/Pg %d 0 R/MCID %d>>" % mark for mark in element.marks]
    if element.object is not None:
        parts.append(b"<</Type/OBJR/Obj %d 0 R/Pg %d 0 R>>" % element.object)
    for kid in element.kids:
        parts.append(next(rows) if isinstance(kid, RowRun) else b"%d 0 R" % kid.number)
    kids = b"/K[%b]" % b" ".join(parts) if parts else b""
    return b"<</S/%b/P %d 0 R%b%b>>" % (element.type, parent, kids, element.attributes)


def write_metadata(pdf: PdfFile, title: str, author: str, created: datetime) -> bytes:
    """Write the document's XMP metadata, which declare PDF/UA-1; return the catalog's entry."""
    moment = f"{created.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    xml = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">\n'
        '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">'
        f"{escape(_printable(title))}</rdf:li></rdf:Alt></dc:title>\n"
        f"<dc:creator><rdf:Seq><rdf:li>{escape(_printable(author))}</rdf:li></rdf:Seq></dc:creator>\n"
        f"<xmp:CreateDate>{moment}</xmp:CreateDate><xmp:ModifyDate>{moment}</xmp:ModifyDate>\n"
        "<pdfuaid:part>1</pdfuaid:part>\n"
        "</rdf:Description></rdf:RDF></x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    ).encode("utf-8", "replace")
    head = b"<</Type/Metadata/Subtype/XML/Length %d>>stream\n%b\nendstream"
    return b"/Metadata %d 0 R" % pdf.put(head % (len(xml), xml))


def _printable(text: str) -> str:
    """Replace characters that XML cannot hold."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", "\ufffd", text)
