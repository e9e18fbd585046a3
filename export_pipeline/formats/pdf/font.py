"""A document's font of one weight: a glyph for every character used, from whichever face has it.

Every glyph gets a CID (a two-byte code) on first use. A code point that no face has gets a box of its own,
so that it can still be found and copied. A cluster from shaping (a base with marks, or a ligature) becomes
one glyph too. Any line of text in any script is therefore one hex string in one font.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from export_pipeline.formats.pdf import characters, faces
from export_pipeline.formats.pdf.faces import EM, Face

NOTDEF, NEWLINE, REPLACEMENT, OVERFLOW = range(4)
"""CIDs at the start of every font; NEWLINE is never printed."""

SHORT_CODES = 256
"""CIDs below this one are also codes of one byte; see `DocumentFont.short_resource`."""

_ASCII = range(0x20, 0x7F)
"""Printable characters whose CID is their code, so that they are short however late they are used."""

BOXED = 1
REPLACED = 2
CROWDED = 3
FLAWS = {
    BOXED: "glyph not available, box printed",
    REPLACED: "control character printed as \N{REPLACEMENT CHARACTER}",
    CROWDED: "too many different characters, printed as \N{REPLACEMENT CHARACTER}",
}
"""Reasons why a printed character differs, by the value in `DocumentFont.flaws`."""

_LAST_CID = 0xFFFE
_LAST_CLUSTER = 0xEFFF
_LONGEST_CLUSTER = 100
_WIDEST_CLUSTER = 12 * EM
_HIGHEST_MARK = 2 * EM
_IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x180B, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E),
    (0x2060, 0x206F), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Characters that print nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """A face's glyph at an offset, in EM units, from the origin of its composite glyph."""

    face: Face
    glyph: int
    x: int = 0
    y: int = 0


@dataclass(frozen=True, slots=True)
class Glyph:
    """The outline and text of a CID. `parts` is empty for a blank; `box` requests the box instead. An unused
    CID has no text.
    """

    text: str
    parts: tuple[Part, ...] = ()
    box: bool = False


@cache
def hex_codes() -> NDArray[np.uint32]:
    """Return the four ASCII hex digits of every CID as one 32-bit word; shape (65536,)."""
    digits = np.frombuffer(b"0123456789ABCDEF", np.uint8)
    codes = np.arange(0x10000, dtype=np.uint32)
    quads = np.stack([digits[(codes >> shift) & 15] for shift in (12, 8, 4, 0)], axis=1)
    return np.ascontiguousarray(quads).view(np.uint32).ravel()


@cache
def hex_pairs() -> NDArray[np.uint16]:
    """Return the two ASCII hex digits of every short code as one 16-bit word; shape (256,)."""
    return np.ascontiguousarray(hex_codes()[:SHORT_CODES].view(np.uint16)[1::2])


@dataclass(slots=True)
class DocumentFont:
    """The CIDs of one weight in one file, assigned on first use.

    Attributes:
        resource: The font's name in page resources, e.g. "F1".
        bold: True for the bold weight.
        glyphs: Glyphs by CID.
        widths: Advance in EM units by CID; shape (65536,), int64.
        properties: Flags from `characters` by CID, for line breaking.
        flaws: Key of FLAWS by CID, 0 for a sound glyph.
        flawed: True if any CID has a flaw so far.
        has_short_codes: True if codes of one byte are used.
    """

    resource: str
    bold: bool
    glyphs: list[Glyph] = field(default_factory=list)
    widths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0x10000, np.int64))
    properties: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0x10000, np.uint8))
    flaws: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0x10000, np.uint8))
    flawed: bool = False
    has_short_codes: bool = False
    _cids: NDArray[np.uint16] = field(
        default_factory=lambda: np.zeros(characters.CODE_POINTS, np.uint16), repr=False
    )
    _clusters: dict[Glyph, int] = field(default_factory=dict, repr=False)

    @property
    def short_resource(self) -> str:
        """The name under which the first CIDs are codes of one byte: rows of such glyphs alone take three
        fourths of the content.
        """
        return f"{self.resource}S"

    def __post_init__(self) -> None:
        missing = faces.find(0xFFFD, self.bold)
        assert missing is not None, "the Latin face has U+FFFD"
        sign, width = (Part(*missing),), missing[0].advance(missing[1])
        self._add(Glyph("\N{REPLACEMENT CHARACTER}", box=True), EM // 2)
        self._add(Glyph("\n"), 0)
        self._add(Glyph("\N{REPLACEMENT CHARACTER}", sign), width)
        self._add(Glyph("\N{REPLACEMENT CHARACTER}", sign), width)
        self.flaws[REPLACEMENT], self.flaws[OVERFLOW] = REPLACED, CROWDED
        self._cids[list(characters.NEWLINES)] = NEWLINE
        self.glyphs += [Glyph("")] * (_ASCII.stop - len(self.glyphs))

    def cids(self, codepoints: NDArray[np.integer]) -> NDArray[np.uint16]:
        """Return the CIDs of single code points; same shape. New ones are assigned as needed."""
        cids: NDArray[np.uint16] = self._cids[codepoints]
        if not cids.all():
            for codepoint in np.unique(codepoints[cids == 0]):
                self._cids[codepoint] = self._new(int(codepoint))
            cids = self._cids[codepoints]
        return cids

    def cid(self, codepoint: int) -> int:
        """Return the CID of one code point."""
        return int(self._cids[codepoint]) or int(self.cids(np.array([codepoint]))[0])

    def cluster(self, text: str, parts: tuple[Part, ...], width: int) -> int | None:
        """Return the CID of a shaped cluster. None if its characters must be printed one by one: there are
        too many clusters, or it is larger than a glyph can be (endless joined emoji, or marks on
        marks).
        """
        glyph = Glyph(text, parts)
        known = self._clusters.get(glyph)
        if known is not None:
            return known
        highest = max((abs(part.y) for part in parts), default=0)
        if len(self.glyphs) > _LAST_CLUSTER or len(text) > _LONGEST_CLUSTER:
            return None
        if width > _WIDEST_CLUSTER or highest > _HIGHEST_MARK:
            return None
        cid = self._clusters[glyph] = self._add(glyph, width)
        table = characters.properties()
        self.properties[cid] = table[ord(text[0])] & ~np.uint8(characters.COMPLEX)
        return cid

    def _new(self, codepoint: int) -> int:
        if len(self.glyphs) > _LAST_CID:
            self.flawed = True
            return OVERFLOW
        flags = characters.properties()[codepoint]
        if flags & characters.CONTROL:
            self.flawed = True
            return REPLACEMENT
        character = chr(codepoint)
        if codepoint == 0x09:
            return self._add(Glyph("\t"), 4 * int(self.widths[self.cid(0x20)]), flags)
        if any(low <= codepoint <= high for low, high in _IGNORABLE):
            return self._add(Glyph(character), 0, flags)
        best = faces.find(codepoint, self.bold)
        if best is None:
            self.flawed = True
            cid = self._add(Glyph(character, box=True), EM * 6 // 10, flags)
            self.flaws[cid] = BOXED
            return cid
        face, glyph = best
        return self._add(Glyph(character, (Part(face, glyph),)), face.advance(glyph), flags, codepoint)

    def _add(self, glyph: Glyph, width: int, flags: int = 0, codepoint: int = 0) -> int:
        cid = codepoint if codepoint in _ASCII else len(self.glyphs)
        self.glyphs[cid : cid + 1] = [glyph]
        self.widths[cid] = width
        self.properties[cid] = flags
        return cid
