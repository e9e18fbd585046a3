"""Read a PDF object by object, holding only its cross-reference table in memory.

General readers keep half a kilobyte for every object. This one reads simple files only: one
cross-reference table, no inherited dictionary entries. It decodes object streams, so that damage to
them is noticed; `packed_objects` looks at the objects in them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

_ENTRY = 20
_TAIL = re.compile(rb"startxref\s+(\d+)\s+%%EOF\s*$")
_TABLE = re.compile(rb"xref\s+(?=0 )")
_SECTION = re.compile(rb"(?<!\d)(\d++) (\d++)\s*?\n")
_REFERENCE = re.compile(rb"(?<!\d)(\d++) 0 R")
_NAMED = re.compile(rb"/([^\s/<>\[\]()]++)\s++(\d++) 0 R")
_STREAM = re.compile(rb"/Length (\d+)\b[^>]*(?:>>\s*)+stream\r?\n")
_FILTER = re.compile(rb"/Filter\s*\[?\s*/([^\s/<>\[\]()]*)")
_PAGE = re.compile(rb"/Type\s*/Page(?=[\s/<>\[\]()])")
_PAGES = re.compile(rb"/Type\s*/Pages(?=[\s/<>\[\]()])")
_BOX = re.compile(rb"/MediaBox\s*\[\s*%b\s*\]" % rb"\s+".join([rb"([+-]?(?:\d+\.?\d*|\.\d+))"] * 4))
_PACKED_PLACES = re.compile(rb"/XRefStm (\d+)")
_DIGITS = (*range(10), *range(11, 16))
"""The positions of digits in an entry of the table: of the offset, and of the generation."""
_DEEPEST = 32
_ZLIB_LIMIT = 1 << 30


class NotPlain(ValueError):
    """Raised if the file is not of this simple form, or is incomplete."""


class PlainFile:
    """An open file. Every method raises `NotPlain` if an object is not as expected.

    Attributes:
        pages: Number of pages that the file declares.
        trailer: Its trailer, a dictionary.
        packed_places: Number of the stream with the places of packed objects; None if there is none.
        has_jpeg: True if a JPEG image was met so far; it stayed encoded.

    Raises:
        NotPlain: The file is not of this form.
        ValueError: An entry of its table of cross-references is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.has_jpeg = False
        try:
            if not re.match(rb"%PDF-[12]\.\d\s", self._file.read(16)):
                raise NotPlain("it does not begin with the version of PDF")
            self._read_table(path.stat().st_size)
            self._root = self.reference(self.body(self._catalog), b"Pages")
            self.pages = _number(self.body(self._root), b"Count")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> PlainFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _read_table(self, size: int) -> None:
        self._file.seek(max(0, size - 1024))
        tail = _TAIL.search(self._file.read())
        if not tail or int(tail[1]) >= size:
            raise NotPlain("it does not end with the place of its cross-references")
        place = int(tail[1])
        head = self._match(_TABLE, place)
        if not head:
            raise NotPlain("it has no plain table of cross-references")
        place += head.end()
        self._places = np.empty(0, np.int64)
        while head := self._match(_SECTION, place):
            first, count = int(head[1]), int(head[2])
            if first < self._places.size or max(first, count * _ENTRY) > size:
                raise NotPlain("its table of cross-references is out of order")
            gap = np.full(first - self._places.size, -1)
            self._file.seek(place + head.end())
            self._places = np.concatenate([self._places, gap, self._read_places(count, size)])
            place += head.end() + count * _ENTRY
        self._file.seek(place)
        edges = np.sort(np.append(self._places, int(tail[1])))
        self._ends = edges[np.minimum(np.searchsorted(edges, self._places, side="right"), edges.size - 1)]
        trailer = self._file.read(4096)
        if b"/Prev" in trailer:
            raise NotPlain("it was changed after it was written")
        self.trailer = trailer.partition(b"startxref")[0].strip().removeprefix(b"trailer")
        self._catalog = self.reference(trailer, b"Root")
        self._decoded = np.zeros(self._places.size, np.bool_)
        packed = _PACKED_PLACES.search(trailer)
        self.packed_places = None
        if packed:
            numbers = np.flatnonzero(self._places == int(packed[1]))
            if not numbers.size:
                raise NotPlain("it does not have the stream of cross-references that it names")
            self.packed_places = int(numbers[0])

    def _match(self, pattern: re.Pattern[bytes], place: int) -> re.Match[bytes] | None:
        self._file.seek(place)
        return pattern.match(self._file.read(40))

    def _read_places(self, count: int, size: int) -> NDArray[np.int64]:
        """Return the places of the next objects of the table; -1 for a free one."""
        entries = np.frombuffer(self._file.read(count * _ENTRY), np.uint8).reshape(count, _ENTRY)
        digits = entries[:, _DIGITS]
        is_used = entries[:, 17] == ord("n")
        places = (entries[:, :10].astype(np.int64) - ord("0")) @ (10 ** np.arange(9, -1, -1))
        sound = (digits >= ord("0")).all() and (digits <= ord("9")).all()
        sound &= (entries[:, (10, 16)] == ord(" ")).all() and (is_used | (entries[:, 17] == ord("f"))).all()
        sound &= np.isin(entries[:, 18:], (ord(" "), ord("\r"), ord("\n"))).all()
        # A free entry names the next free object.
        if not sound or (places >= np.where(is_used, size, self._places.size + count)).any():
            # No reader could make up for it: objects would be missing.
            raise ValueError("its table of cross-references is damaged")
        return np.where(is_used, places, -1)

    def body(self, number: int) -> bytes:
        """Return the content of an object."""
        place = int(self._places[number]) if 0 < number < self._places.size else -1
        if place < 0:
            raise NotPlain(f"object {number} is missing")
        head = b"%d 0 obj" % number
        data = os.pread(self._file.fileno(), int(self._ends[number]) - place, place).rstrip()
        if not data.startswith(head) or not data.endswith(b"endobj"):
            raise NotPlain(f"object {number} is not where it should be")
        return data[len(head) : -len(b"endobj")]

    def numbers(self) -> list[int]:
        """Return the numbers of all objects that are not packed."""
        numbers: list[int] = np.flatnonzero(self._places >= 0).tolist()
        return numbers

    def entries(self, number: int) -> bytes:
        """Return the content of an object; of a stream only its dictionary."""
        data = self.body(number)
        head = _STREAM.search(data)
        return data[: head.end()].rstrip().removesuffix(b"stream") if head else data

    def stream(self, number: int) -> bytes:
        """Return the decoded content of a stream object; that of a JPEG stays encoded."""
        return self._decode(number, self.body(number))

    def check_other_objects(self) -> None:
        """Decode every stream that was not yet read: fonts, images, object streams, cross-references.

        The checksum of zlib tells whether their bytes are those that were written.
        """
        for number in np.flatnonzero((self._places >= 0) & ~self._decoded).tolist():
            data = self.body(number)
            # One damaged keyword does not make another object of a stream.
            if data.endswith(b"endstream\n") or _STREAM.search(data):
                self._decode(number, data)

    def _decode(self, number: int, data: bytes) -> bytes:
        head = _STREAM.search(data)
        if not head or data[head.end() + int(head[1]) :].strip() != b"endstream":
            raise NotPlain(f"object {number} is not a stream of its declared length")
        content = data[head.end() : head.end() + int(head[1])]
        self._decoded[number] = True
        entries = data[: head.end()]
        coding = _FILTER.search(entries)
        if coding is None and _is_packed(content):
            raise NotPlain(f"object {number} does not say how it is encoded")
        if coding is None:
            return content
        if coding[1] == b"DCTDecode":
            if not (content.startswith(b"\xff\xd8") and content.rstrip(b"\0\r\n").endswith(b"\xff\xd9")):
                raise NotPlain(f"object {number} is not a whole JPEG image")
            self.has_jpeg = True
            return content
        if coding[1] != b"FlateDecode":
            raise NotPlain(f"object {number} has the unknown filter {coding[1].decode('ascii', 'replace')}")
        unpacker = isal_zlib.decompressobj()
        try:
            content = unpacker.decompress(content, _ZLIB_LIMIT)
        except isal_zlib.error as error:  # type: ignore[misc]
            raise NotPlain(f"object {number} cannot be decoded: {error}") from None
        if not unpacker.eof:
            raise NotPlain(f"object {number} ends too early")
        return content

    def reference(self, data: bytes, key: bytes) -> int:
        """Return the object that a dictionary references under a key."""
        for name, number in _NAMED.findall(data):
            if name == key:
                return int(number)
        raise NotPlain(f"a dictionary lacks /{key.decode()}")

    def named(self, number: int, key: bytes) -> dict[bytes, int]:
        """Return the objects of a dictionary nested in an object, by name."""
        match = re.search(rb"/%b\s*<<(.*?)>>" % key, self.body(number), re.DOTALL)
        return {name: int(value) for name, value in _NAMED.findall(match[1])} if match else {}

    def page_bodies(self) -> Iterator[bytes]:
        """Yield the pages' dictionaries, in order; each has the type and the size of a page."""
        count = 0
        for body in self._below(self._root, 0):
            count += 1
            box = _BOX.search(body)
            if not _PAGE.search(body) or not box:
                raise NotPlain("its type or its size is missing")
            left, bottom, right, top = map(float, box.groups())
            if left >= right or bottom >= top:
                raise NotPlain("it has no size")
            yield body
        if count != self.pages:
            raise NotPlain(f"it has {count} pages and says {self.pages}")

    def _below(self, number: int, depth: int) -> Iterator[bytes]:
        body = self.body(number)
        kids = references(body, b"Kids")
        if not kids:
            yield body
        elif depth > _DEEPEST:
            raise NotPlain("its pages lie too deep")
        elif not _PAGES.search(body):
            raise NotPlain("a group of pages is of another type")
        for kid in kids:
            yield from self._below(kid, depth + 1)


def references(data: bytes, key: bytes) -> list[int]:
    """Return the objects that a dictionary lists, or names, under a key."""
    match = re.search(rb"/%b\s*(?:\[([^\]]*)\]|(\d+ 0 R))" % key, data)
    listed = (match[1] or match[2] or b"") if match else b""
    if _REFERENCE.sub(b"", listed).strip():
        raise NotPlain(f"a dictionary lists under /{key.decode()} something that is not an object")
    return [int(number) for number in _REFERENCE.findall(listed)]


def _is_packed(content: bytes) -> bool:
    """Return True if this begins as what zlib packs."""
    return content[:1] == b"x" and int.from_bytes(content[:2], "big") % 31 == 0


def _number(data: bytes, key: bytes) -> int:
    match = re.search(rb"/%b (\d+)" % key, data)
    if not match:
        raise NotPlain(f"a dictionary lacks /{key.decode()}")
    return int(match[1])
