"""A PDF file written as a stream: objects when they are complete, the cross-reference table last."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate, count
from typing import BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

PACKED = 1_000
"""Most objects in one compressed stream."""
_PACKED_BYTES = 64 << 10
"""Size from which such a stream gets no more objects: who needs one of them decodes all."""
_LEAF = 64
"""Most children of one node of the page tree."""


def text_string(text: str) -> bytes:
    """Return a PDF text string in UTF-16, as a hex string; lone surrogates become U+FFFD."""
    return b"<FEFF" + text.encode("utf-16-be", "replace").hex().upper().encode() + b">"


def name(text: str) -> bytes:
    """Return a PDF name, with its slash; bytes other than plain letters are written as #xx."""
    return b"/" + b"".join(
        bytes((b,)) if (chr(b).isascii() and chr(b).isalnum()) or b in b"._-" else b"#%02X" % b
        for b in text.encode("utf-8", "replace")
    )


def date_string(moment: datetime) -> bytes:
    """Return a PDF date, e.g. (D:20250131235959+00'00')."""
    offset = moment.utcoffset()
    minutes = int(offset.total_seconds() // 60) if offset is not None else 0
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02d}'{abs(minutes) % 60:02d}'"
    return f"(D:{moment:%Y%m%d%H%M%S}{zone})".encode()


class PdfFile:
    """Objects, streams and the page tree of one file.

    Attributes:
        resources: Object number of the resource dictionary that all pages share; written last.
        pages: Number of pages added.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._offsets = array("q", [0])
        self._position = 0
        self.pages = 0
        self._nodes: list[tuple[int, int]] = []
        self._leaf: list[int] = []
        self._packed: list[tuple[int, int, int]] = []  # first object, objects, stream
        self._write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
        self.resources = self.reserve()
        self._root = self.reserve()
        self._leaf_number = self.reserve()

    def reserve(self, count: int = 1) -> int:
        """Reserve numbers of objects to be written later; return the first."""
        number = len(self._offsets)
        self._offsets.extend([-1] * count)
        return number

    def put(self, body: bytes, number: int | None = None) -> int:
        """Write an object and return its number."""
        number = self.reserve() if number is None else number
        self._offsets[number] = self._position
        self._write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
        return number

    def put_packed(self, first: int, bodies: Sequence[bytes], period: int = 0) -> None:
        """Write many small objects, whose numbers follow each other; see `put_objects`."""
        start, size = 0, 0
        for end, body in enumerate(bodies, 1):
            size += len(body)
            if end - start == PACKED or size >= _PACKED_BYTES or end == len(bodies):
                some = bodies[start:end]
                edges = accumulate((len(one) + 1 for one in some[:-1]), initial=0)
                head = b"".join(b"%d %d " % pair for pair in zip(count(first + start), edges, strict=False))
                self.put_objects(first + start, len(some), head, b"\n".join(some), period)
                start, size = end, 0

    def put_objects(self, first: int, objects: int, head: bytes, bodies: bytes, period: int = 0) -> None:
        """Write a compressed stream of objects whose numbers follow each other.

        Args:
            first: Number of the first object.
            objects: Number of objects.
            head: Number and place of each object's body.
            bodies: The bodies.
            period: Bytes after which the content nearly repeats, if it does. It is then packed as differences
                from that many bytes before, as tables of cross-references are, and packs to a quarter.
        """
        entries = b"/Type/ObjStm/N %d/First %d" % (objects, len(head))
        data = head + bodies
        if not period:
            number = self.stream(data, entries)
        else:
            rows = np.frombuffer(data + b" " * (-len(data) % period), np.uint8).reshape(-1, period)
            number = self.put(b"<<%b%b" % (entries, _pack_differences(rows)))
        self._packed.append((first, objects, number))

    def stream(self, data: bytes, entries: bytes = b"", number: int | None = None) -> int:
        """Write a stream, deflated if that makes it smaller, with more dictionary entries."""
        packed = isal_zlib.compress(data, 1)
        if len(packed) < len(data):
            data, entries = packed, entries + b"/Filter/FlateDecode"
        return self.put(b"<</Length %d%b>>stream\n%b\nendstream" % (len(data), entries, data), number)

    def page(
        self,
        number: int,
        contents: Sequence[int],
        size: tuple[float, float],
        annotations: Iterable[bytes],
        entries: bytes = b"",
    ) -> None:
        """Add a page: its reserved object number, contents, (width, height) in points, more entries."""
        links = b" ".join(annotations)
        self.put(
            b"<</Type/Page/Parent %d 0 R/Resources %d 0 R/MediaBox[0 0 %g %g]/Contents[%b]%b%b>>"
            % (
                self._leaf_number,
                self.resources,
                *size,
                b" ".join(b"%d 0 R" % content for content in contents),
                b"/Annots[%b]" % links if links else b"",
                entries,
            ),
            number,
        )
        self._leaf.append(number)
        self.pages += 1
        if len(self._leaf) == _LEAF:
            self._close_leaf()
            self._leaf_number = self.reserve()

    def _close_leaf(self) -> None:
        self._nodes.append((self._leaf_number, len(self._leaf)))
        kids = b" ".join(b"%d 0 R" % page for page in self._leaf)
        self.put(
            b"<</Type/Pages/Parent %d 0 R/Count %d/Kids[%b]>>" % (self._root, len(self._leaf), kids),
            self._leaf_number,
        )
        self._leaf = []

    def finish(self, catalog: bytes, info: bytes) -> None:
        """Write the rest: page tree, catalog (entries besides type and pages), cross-references."""
        if self._leaf:
            self._close_leaf()
        kids = b" ".join(b"%d 0 R" % number for number, _ in self._nodes)
        self.put(b"<</Type/Pages/Count %d/Kids[%b]>>" % (self.pages, kids), self._root)
        catalog_number = self.put(b"<</Type/Catalog/Pages %d 0 R%b>>" % (self._root, catalog))
        info_number = self.put(b"<<%b>>" % info)
        # Packed objects are found by a stream of their own; plain readers of pages need only the table.
        hidden = self._find_packed()
        stream = b"/XRefStm %d" % self._write_packed_places(hidden) if hidden else b""
        start = self._position
        count = len(self._offsets)
        self._write(b"xref\n")
        if hidden:
            self._write_places(range(hidden.start))
            self._write_places(range(hidden.stop, count))
        else:
            self._write_places(range(count))
        identity = hashlib.sha256(info + b"%d %d" % (start, count)).hexdigest()[:32].encode()
        self._write(
            b"trailer\n<</Size %d/Root %d 0 R/Info %d 0 R/ID[<%b><%b>]%b>>\nstartxref\n%d\n%%%%EOF\n"
            % (count, catalog_number, info_number, identity, identity, stream, start)
        )

    def _write_places(self, numbers: range) -> None:
        """Write a section of the cross-reference table."""
        self._write(b"%d %d\n" % (numbers.start, len(numbers)))
        for begin in range(numbers.start, numbers.stop, 10_000):
            # A reserved number that was never used is a free object: readers see null.
            self._write(
                b"".join(
                    b"%010d 00000 n\r\n" % offset if number and offset >= 0 else b"0000000000 65535 f\r\n"
                    for number, offset in enumerate(
                        self._offsets[begin : min(begin + 10_000, numbers.stop)], begin
                    )
                )
            )

    def _find_packed(self) -> range:
        """Return the numbers of packed objects, which are consecutive."""
        if not self._packed:
            return range(0)
        first, (last, objects, _) = self._packed[0][0], self._packed[-1]
        assert last + objects - first == sum(objects for _, objects, _ in self._packed)
        return range(first, last + objects)

    def _write_packed_places(self, numbers: range) -> int:
        """Write the cross-references of packed objects; return the place of the stream."""
        table = np.zeros(len(numbers), np.dtype([("kind", "u1"), ("stream", ">u4"), ("index", ">u2")]))
        table["kind"] = 2
        sizes = np.array([objects for _, objects, _ in self._packed])
        table["stream"] = np.repeat([stream for *_, stream in self._packed], sizes)
        table["index"] = np.arange(len(numbers)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = table.view(np.uint8).reshape(len(table), -1)
        start = self._position
        self.put(
            b"<</Type/XRef/Size %d/Index[%d %d]/W[1 4 2]%b"
            % (len(self._offsets) + 1, numbers.start, len(numbers), _pack_differences(rows))
        )
        return start

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._position += len(data)


def _pack_differences(rows: NDArray[np.uint8]) -> bytes:
    """Return the rest of a stream: its content are these rows, packed as differences from the row above."""
    differences = np.full((len(rows), rows.shape[1] + 1), 2, np.uint8)
    differences[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=differences[1:, 1:])
    data = isal_zlib.compress(differences, 1)
    return b"/DecodeParms<</Predictor 12/Columns %d>>/Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (
        rows.shape[1],
        len(data),
        data,
    )
