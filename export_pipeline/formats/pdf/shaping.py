"""Shaping: convert strings that need more than one glyph per code point to the CIDs of glyph clusters.

The result is in logical order with a bidi level for each glyph; lines are reordered visually only after
line breaking. A string is shaped once and cached.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uharfbuzz as hb
from numpy.typing import NDArray

from export_pipeline.formats.pdf import characters, faces
from export_pipeline.formats.pdf.faces import Face
from export_pipeline.formats.pdf.font import NEWLINE, DocumentFont, Part

_REMEMBERED = 20_000
_PARAGRAPH = re.compile("([\n\x0b\x0c\r\x85\u2028\u2029])")
_WORD = re.compile(" +|[^ ]+ *")
_FROM_RIGHT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_LETTERS = "\u0591-\u05bd\u05d0-\u05ea\u061b\u061f-\u065f\u066e-\u06d5"
_NUMERAL = re.compile("[0-9\u06f0-\u06f9]+(?:[.,:/][0-9\u06f0-\u06f9]+)*")
_PLAIN = re.compile(
    f"(?=.*[\u05d0-\u05ea\u0620-\u064a])(?:{_NUMERAL.pattern}(?![\u0591-\u06d5])|[{_LETTERS} .,:/!?()\"';])+"
)
"""Hebrew or Arabic with only plain punctuation and numbers: letters run right to left, numbers left to
right, and the bidi algorithm has nothing to resolve.
"""
_BIDI_TYPES = frozenset(
    {"L", "R", "AL", "EN", "ES", "ET", "AN", "CS", "NSM", "BN", "B", "S", "WS", "ON"}
    | {"LRE", "LRO", "RLE", "RLO", "PDF"}
)
"""Types that the bidi algorithm knows."""
_EXTENDS = frozenset((0x200C, 0x200D, *range(0xFE00, 0xFE10)))
"""Joiners and variation selectors: part of the preceding character, whatever its face."""


@dataclass(frozen=True, slots=True)
class Shaped:
    """A string's glyphs: CIDs and bidi levels in logical order, and whether it reads right to left."""

    cids: NDArray[np.uint16]
    levels: NDArray[np.uint8]
    rtl: bool


@dataclass(slots=True)
class Shaper:
    """Shapes strings for one document font."""

    font: DocumentFont
    _known: dict[str, Shaped] = field(default_factory=dict)
    _words: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def shape(self, text: str) -> Shaped:
        """Return the glyphs of a string; newlines become the NEWLINE CID."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[text] = self._shape(text)
        return known

    def _shape(self, text: str) -> Shaped:
        cids: list[int] = []
        levels = bytearray()
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
            for token in _WORD.finditer(piece):
                self._token(token[0], of_characters[token.start() : token.end()], cids, levels)
        return Shaped(np.array(cids, np.uint16), np.frombuffer(levels, np.uint8), first_base == 1)

    def _token(self, text: str, of_characters: bytearray, cids: list[int], levels: bytearray) -> None:
        """Add a word with its trailing spaces, split where parts have different directions."""
        if of_characters.count(of_characters[0]) == len(text):
            made = self._word(text, of_characters[0] % 2)
            cids += made
            levels += of_characters[:1] * len(made)
            return
        word = text.rstrip(" ")
        if len(word) < len(text):
            self._token(word, of_characters[: len(word)], cids, levels)
            self._token(text[len(word) :], of_characters[len(word) :], cids, levels)
        else:
            self._mixed(text, of_characters, cids, levels)

    def _word(self, word: str, direction: int) -> list[int]:
        """Return the CIDs of a word of one direction, shaped once and cached."""
        made = self._words.get((word, direction))
        if made is None:
            made = []
            if not direction and word.isascii():
                ascii_cids: list[int] = self.font.cids(np.frombuffer(word.encode(), np.uint8)).tolist()
                return ascii_cids
            self._mixed(word, bytearray((direction,)) * len(word), made, bytearray())
            if len(self._words) >= _REMEMBERED:
                self._words.clear()
            self._words[word, direction] = made
        return made

    def _mixed(self, text: str, of_characters: bytearray, cids: list[int], levels: bytearray) -> None:
        for start, end, face in self._runs(text, of_characters):
            level = of_characters[start]
            if face is None:
                made = [self.font.cid(ord(character)) for character in text[start:end]]
            else:
                made = self._clusters(text[start:end], level, face)
            cids += made
            levels += bytes((level,)) * len(made)

    def _runs(self, text: str, levels: bytearray) -> list[tuple[int, int, Face | None]]:
        """Return runs of one face and one level: (start, end, face)."""
        table = characters.properties()
        runs: list[tuple[int, int, Face | None]] = []
        for index, character in enumerate(text):
            codepoint = ord(character)
            before = runs[-1] if runs else None
            face: Face | None
            if before and (codepoint in _EXTENDS or _clings(before[2], character)):
                face = before[2]
            elif 0x1100 <= codepoint <= 0x11FF:
                # The shaper composes jamo to syllables if the face has the syllables.
                face = faces.syllables(self.font.bold)
            elif table[codepoint] & (characters.CONTROL | characters.SPACE):
                face = None
            else:
                best = faces.find(codepoint, self.font.bold)
                face = best[0] if best else None
            if before and before[2] is face and levels[before[0]] == levels[index]:
                runs[-1] = (before[0], index + 1, face)
            else:
                runs.append((index, index + 1, face))
        return runs

    def _clusters(self, text: str, level: int, face: Face) -> list[int]:
        buffer = hb.Buffer()
        buffer.add_codepoints([ord(character) for character in text])
        buffer.guess_segment_properties()
        buffer.direction = "rtl" if level % 2 else "ltr"
        hb.shape(face.shaper, buffer, {"kern": False})
        infos, positions = buffer.glyph_infos, buffer.glyph_positions
        # Glyphs come in visual order; clusters must be in logical order, each unchanged inside.
        starts = sorted({info.cluster for info in infos})
        ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
        inside: dict[int, list[int]] = {start: [] for start in starts}
        for index, info in enumerate(infos):
            inside[info.cluster].append(index)
        made: list[int] = []
        for start in starts:
            cluster = text[start : ends[start]]
            glyphs = [(infos[i], positions[i]) for i in inside[start]]
            made.extend(self._cluster(cluster, level % 2 == 1, face, glyphs))
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
        cid = self.font.cluster(_visual_order(text) if rtl else text, tuple(parts), width)
        return [cid] if cid is not None else [self.font.cid(ord(character)) for character in text]


def _clings(face: Face | None, character: str) -> bool:
    """Return whether a character is a mark that the preceding character's face has."""
    marks = unicodedata.category(character)[0] == "M"
    return marks and face is not None and face.glyph(ord(character)) is not None


def _visual_order(text: str) -> str:
    """Return a right-to-left cluster's text from left to right, with mirrored brackets. Readers of PDF
    find glyphs in visual order and reverse right-to-left runs, including the inside of a cluster.
    """
    from bidi.mirror import MIRRORED

    return "".join([MIRRORED.get(character, character) for character in reversed(text)])


def bidi_levels(text: str) -> tuple[int, bytearray]:
    """Return a paragraph's base level (1: right to left) and the level of each character."""
    if not _FROM_RIGHT.search(text):
        return 0, bytearray(len(text))
    if _PLAIN.fullmatch(text):
        left_to_right = bytearray(b"\x01") * len(text)
        for number in _NUMERAL.finditer(text):
            begin, end = number.span()
            left_to_right[begin:end] = b"\x02" * (end - begin)
        return 1, left_to_right
    return _any_levels(text)


def _any_levels(text: str) -> tuple[int, bytearray]:
    """Return the same by the full bidi algorithm, which is slow."""
    from bidi import algorithm

    base: int = algorithm.get_base_level(text)
    storage: dict[str, Any] = {"base_level": base, "base_dir": "LR"[base], "chars": [], "runs": deque()}
    algorithm.get_embedding_levels(text, storage)
    for index, entry in enumerate(storage["chars"]):
        entry["index"] = index
        if entry["type"] not in _BIDI_TYPES:
            # Isolates are newer than the algorithm, and unassigned characters have no type.
            entry["type"] = entry["orig"] = "BN" if entry["type"] else "ON"
    algorithm.explicit_embed_and_overrides(storage)
    algorithm.resolve_weak_types(storage)
    algorithm.resolve_neutral_types(storage, False)
    algorithm.resolve_implicit_levels(storage, False)
    known = {entry["index"]: entry["level"] for entry in storage["chars"]}
    levels = bytearray()
    for index in range(len(text)):
        # The algorithm drops joiners and direction marks; they take the level of the preceding character.
        levels.append(known.get(index, levels[-1] if levels else base))
    return base, levels
