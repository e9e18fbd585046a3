"""Shaping: strings that code points alone cannot print, as the CIDs of their glyph clusters.

The result is in logical order with a bidi level for each glyph; lines are put in visual order only
after they have been broken. A string is shaped once and remembered.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export_pipeline.formats.pdf import characters, faces
from export_pipeline.formats.pdf.faces import Face
from export_pipeline.formats.pdf.font import NEWLINE, DocumentFont, Part

_REMEMBERED = 20_000
_PARAGRAPH = re.compile("([\n\x0b\x0c\r\x85\u2028\u2029])")
_EXTENDS = frozenset((0x200C, 0x200D, *range(0xFE00, 0xFE10)))
"""Joiners and variation selectors: part of the character before them, whatever its face."""


@dataclass(frozen=True, slots=True)
class Shaped:
    """A string's glyphs: CIDs and bidi levels in logical order, and whether it reads from the right."""

    cids: NDArray[np.uint16]
    levels: NDArray[np.uint8]
    rtl: bool


@dataclass(slots=True)
class Shaper:
    """Shapes strings for one document font."""

    font: DocumentFont
    _known: dict[str, Shaped] = field(default_factory=dict)

    def shape(self, text: str) -> Shaped:
        """The glyphs of a string; newlines come out as the NEWLINE CID."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[text] = self._shape(text)
        return known

    def _shape(self, text: str) -> Shaped:
        cids: list[int] = []
        levels: list[int] = []
        first_base: int | None = None
        for piece in _PARAGRAPH.split(text):
            if not piece:
                continue
            if _PARAGRAPH.match(piece):
                cids.append(NEWLINE)
                levels.append(0)
                continue
            base, of_characters = bidi_levels(piece)
            first_base = base if first_base is None else first_base
            for start, end, face in self._runs(piece, of_characters):
                self._shape_run(piece[start:end], of_characters[start], face, cids, levels)
        return Shaped(np.array(cids, np.uint16), np.array(levels, np.uint8), first_base == 1)

    def _runs(self, text: str, levels: list[int]) -> list[tuple[int, int, Face | None]]:
        """Stretches of one face and one level: (start, end, face)."""
        table = characters.properties()
        runs: list[tuple[int, int, Face | None]] = []
        for index, character in enumerate(text):
            codepoint = ord(character)
            before = runs[-1] if runs else None
            face: Face | None
            if before and (codepoint in _EXTENDS or _clings(before[2], character)):
                face = before[2]
            elif 0x1100 <= codepoint <= 0x11FF:
                # Jamo are composed to syllables by the shaper, given a face that has the syllables.
                face = faces.syllables(self.font.bold)
            elif table[codepoint] & (characters.CONTROL | characters.SPACE):
                face = None
            else:
                found = faces.find(codepoint, self.font.bold)
                face = found[0] if found else None
            if before and before[2] is face and levels[before[0]] == levels[index]:
                runs[-1] = (before[0], index + 1, face)
            else:
                runs.append((index, index + 1, face))
        return runs

    def _shape_run(
        self, text: str, level: int, face: Face | None, cids: list[int], levels: list[int]
    ) -> None:
        if face is None:
            made = [self.font.cid(ord(character)) for character in text]
        else:
            made = self._clusters(text, level, face)
        cids.extend(made)
        levels.extend([level] * len(made))

    def _clusters(self, text: str, level: int, face: Face) -> list[int]:
        import uharfbuzz as hb

        buffer = hb.Buffer()
        buffer.add_codepoints([ord(character) for character in text])
        buffer.guess_segment_properties()
        buffer.direction = "rtl" if level % 2 else "ltr"
        hb.shape(face.shaper, buffer, {"kern": False})
        infos, positions = buffer.glyph_infos, buffer.glyph_positions
        # Glyphs come in visual order; clusters are wanted in logical order, their insides as they stand.
        starts = sorted({info.cluster for info in infos})
        ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
        inside: dict[int, list[int]] = {start: [] for start in starts}
        for index, info in enumerate(infos):
            inside[info.cluster].append(index)
        made: list[int] = []
        for start in starts:
            said = text[start : ends[start]]
            glyphs = [(infos[i], positions[i]) for i in inside[start]]
            made.extend(self._cluster(said, level % 2 == 1, face, glyphs))
        return made

    def _cluster(self, text: str, rtl: bool, face: Face, glyphs: list[tuple[Any, Any]]) -> list[int]:
        alone = [self.font.cid(ord(character)) for character in text] if len(text) == 1 else None
        if any(info.codepoint == 0 for info, _ in glyphs):
            return alone or [self.font.cid(ord(character)) for character in text]
        parts: list[Part] = []
        x = 0
        for info, position in glyphs:
            parts.append(
                Part(
                    face,
                    info.codepoint,
                    round((x + position.x_offset) * face.scale),
                    round(position.y_offset * face.scale),
                )
            )
            x += position.x_advance
        width = max(0, round(x * face.scale))
        if alone and self.font.glyphs[alone[0]].parts == tuple(parts):
            return alone
        cid = self.font.cluster(_as_seen(text) if rtl else text, tuple(parts), width)
        return [cid] if cid is not None else [self.font.cid(ord(character)) for character in text]


def _clings(face: Face | None, character: str) -> bool:
    """Whether a character is a mark that the face of the character before it has."""
    marks = unicodedata.category(character)[0] == "M"
    return marks and face is not None and face.glyph(ord(character)) is not None


def _as_seen(text: str) -> str:
    """A right-to-left cluster's text from left to right, with brackets as they are drawn: readers of PDF
    find glyphs in visual order and turn right-to-left stretches around, the inside of a cluster too."""
    from bidi.mirror import MIRRORED

    return "".join([MIRRORED.get(character, character) for character in reversed(text)])


def bidi_levels(text: str) -> tuple[int, list[int]]:
    """The base level (1: reads from the right) of a paragraph and the level of each character."""
    if not any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text):
        return 0, [0] * len(text)
    from bidi import algorithm

    # Isolates are newer than the algorithm used; as boundary-neutral characters they change nothing.
    text = text.translate(dict.fromkeys(range(0x2066, 0x206A), 0x200B))
    base = algorithm.get_base_level(text)
    storage = {"base_level": base, "base_dir": ("L", "R")[base], "chars": [], "runs": deque()}
    algorithm.get_embedding_levels(text, storage)
    for index, entry in enumerate(storage["chars"]):
        entry["index"] = index
    algorithm.explicit_embed_and_overrides(storage)
    algorithm.resolve_weak_types(storage)
    algorithm.resolve_neutral_types(storage, False)
    algorithm.resolve_implicit_levels(storage, False)
    known = {entry["index"]: entry["level"] for entry in storage["chars"]}
    levels: list[int] = []
    for index in range(len(text)):
        # The algorithm drops joiners and marks of direction; they go with what stands before them.
        levels.append(known.get(index, levels[-1] if levels else base))
    return base, levels
