"""The structure tree of a tagged PDF (PDF/UA-1): headings, paragraphs, tables, and their marks on pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import count
from xml.sax.saxutils import escape

from export_pipeline.formats.pdf.objects import PdfFile, text_string

MAX_CELLS = 50_000
"""Cells of a document that is tagged unless asked otherwise: the tree costs memory and 15 bytes for each."""
MARK = b"/TD<</MCID 00000>>BDC "
"""Begins a cell whose number on its page is not known yet; see `Structure.number_cells`."""
LINK_MARK = b"/Link<</MCID 00000>>BDC "
"""The same for a cell that leads to another place."""
ARTIFACT = b"/Artifact BMC "
_NUMBER = b"MCID 00000"


class Element:
    """An element of the tree: its type, its parent, and its children or marks in order."""

    __slots__ = ("attributes", "kids", "marks", "number", "object", "parent", "type")

    def __init__(self, type: bytes, parent: Element | None, attributes: bytes = b"") -> None:
        self.type = type
        self.parent = parent
        self.attributes = attributes
        self.kids: list[Element] = []
        self.marks: list[tuple[int, int]] = []
        self.object: tuple[int, int] | None = None
        self.number = 0
        if parent is not None:
            parent.kids.append(self)


class Structure:
    """The tree of one document, and the marks of its pages."""

    def __init__(self) -> None:
        self.document = Element(b"Document", None)
        self._pages: dict[int, list[Element]] = {}
        self._objects: dict[int, Element] = {}

    def add(self, type: bytes, parent: Element | None = None, attributes: bytes = b"") -> Element:
        """Add an element below another one, by default below the document."""
        return Element(type, parent or self.document, attributes)

    def mark(self, element: Element, page: int) -> int:
        """Return the number of a new mark on a page (its object number), whose content is the element's."""
        marks = self._pages.setdefault(page, [])
        marks.append(element)
        element.marks.append((page, len(marks) - 1))
        return len(marks) - 1

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
        marks = self._pages.setdefault(page, [])
        first = len(marks)
        marks += cells
        before, *pieces = content.split(_NUMBER)
        numbered = [before]
        for number, (cell, piece) in enumerate(zip(cells, pieces, strict=True), start=first):
            cell.marks.append((page, number))
            numbered.append(b"MCID %d%b" % (number, piece))
        return b"".join(numbered)

    def page_entries(self, page: int) -> bytes:
        """Return the entries of a page's dictionary: its key in the parent tree is its object number."""
        return b"/StructParents %d/Tabs/S" % page

    def write(self, pdf: PdfFile) -> bytes:
        """Write the tree; return the catalog's entries."""
        root = pdf.reserve()
        elements = [self.document]
        for element in elements:  # grows while its children are appended
            elements += element.kids
        first = pdf.reserve(len(elements))
        for number, element in zip(count(first), elements, strict=False):
            element.number = number
        objects = [(element.number, _body(element, root)) for element in elements]
        parents = {key: element.number for key, element in self._objects.items()}
        for page, marks in sorted(self._pages.items()):
            parents[page] = number = pdf.reserve()
            objects.append((number, b"[%b]" % b" ".join(b"%d 0 R" % element.number for element in marks)))
        objects.append(
            (
                root,
                b"<</Type/StructTreeRoot/K %d 0 R/ParentTree<</Nums[%b]>>>>"
                % (self.document.number, b" ".join(b"%d %d 0 R" % pair for pair in sorted(parents.items()))),
            )
        )
        pdf.put_packed(objects)
        return b"/MarkInfo<</Marked true>>/StructTreeRoot %d 0 R" % root


def _body(element: Element, root: int) -> bytes:
    parent = element.parent.number if element.parent else root
    if len(element.marks) == 1 and not element.kids and element.object is None:  # nearly all elements
        page, number = element.marks[0]
        attributes = element.attributes
        return b"<</S/%b/P %d 0 R/Pg %d 0 R/K %d%b>>" % (element.type, parent, page, number, attributes)
    parts = [b"<</Type/MCR/Pg %d 0 R/MCID %d>>" % mark for mark in element.marks]
    if element.object is not None:
        parts.append(b"<</Type/OBJR/Obj %d 0 R/Pg %d 0 R>>" % element.object)
    parts += [b"%d 0 R" % kid.number for kid in element.kids]
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
