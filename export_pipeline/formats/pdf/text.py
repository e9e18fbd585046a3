"""Convert Arrow strings to glyphs: all cells of a column at once, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_pipeline.formats.pdf import characters
from export_pipeline.formats.pdf.font import DocumentFont
from export_pipeline.formats.pdf.shaping import Shaper


@dataclass(slots=True)
class Glyphs:
    """The glyphs of many cells, end to end, in logical order.

    Attributes:
        cids: Shape (n,).
        starts: Start of each cell, and the end; shape (cells + 1,).
        levels: Bidi level of each glyph, None if all text is left to right; shape (n,).
        rtl: Mask of cells whose first paragraph is right to left, None if there are none; shape (cells,).
    """

    cids: NDArray[np.uint16]
    starts: NDArray[np.int64]
    levels: NDArray[np.uint8] | None = None
    rtl: NDArray[np.bool_] | None = None


def string_buffers(array: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bytes and offsets of a string or binary array without nulls. Offsets begin at 0."""
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offset_buffer, data = array.buffers()
    count = len(array)
    if not count:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    kind = np.int64 if wide else np.int32
    offsets = np.frombuffer(offset_buffer, kind)[array.offset : array.offset + count + 1].astype(np.int64)
    low, high = int(offsets[0]), int(offsets[-1])
    if high == low:
        return np.zeros(0, np.uint8), offsets - low
    return np.frombuffer(data, np.uint8)[low:high], offsets - low


def encode(font: DocumentFont, shaper: Shaper, strings: pa.Array) -> Glyphs:
    """Return the glyphs of a string array without nulls."""
    flat, offsets = string_buffers(strings)
    if not flat.size or flat.max() < 0x80:
        codepoints: NDArray[np.integer] = flat
        starts = offsets
    else:
        codepoints, flat, starts = _decode(flat, offsets)
    if flat.size and (flat == 0x0D).any():
        codepoints, starts = _join_crlf(codepoints, starts)
    if codepoints.dtype != np.uint8:
        tangled = characters.properties()[codepoints] & characters.COMPLEX
        if tangled.any():
            return _shape_lines(font, shaper, codepoints, starts, tangled != 0)
    return Glyphs(font.cids(codepoints), starts)


def _decode(
    flat: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64]]:
    data = flat.tobytes()
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        cells = [data[a:b].decode("utf-8", "replace") for a, b in pairwise(offsets)]
        text = "".join(cells)
        starts = np.concatenate([[0], np.cumsum([len(cell) for cell in cells], dtype=np.int64)])
    else:
        before = np.zeros(flat.size + 1, np.int64)
        np.cumsum((flat & 0xC0) != 0x80, out=before[1:])
        starts = before[offsets]
    codepoints = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return codepoints, flat, starts


def _join_crlf(
    codepoints: NDArray[np.integer], starts: NDArray[np.int64]
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Replace CR LF within a cell by one newline."""
    pair = np.zeros(codepoints.size, bool)
    pair[:-1] = (codepoints[:-1] == 0x0D) & (codepoints[1:] == 0x0A)
    inner = starts[1:][starts[1:] > 0]
    pair[inner - 1] = False
    kept = np.zeros(codepoints.size + 1, np.int64)
    np.cumsum(~pair, out=kept[1:])
    return codepoints[~pair], kept[starts]


def _shape_lines(
    font: DocumentFont,
    shaper: Shaper,
    codepoints: NDArray[np.integer],
    starts: NDArray[np.int64],
    tangled: NDArray[np.bool_],
) -> Glyphs:
    """Shape cells with complex characters one by one (each distinct string once), encode the rest at once."""
    before = np.zeros(codepoints.size + 1, np.int64)
    np.cumsum(tangled, out=before[1:])
    counts = before[starts[1:]] - before[starts[:-1]]
    cells = np.flatnonzero(counts)
    data = codepoints.astype(np.uint32, copy=False).tobytes()
    shaped = [
        shaper.shape(data[4 * starts[c] : 4 * starts[c + 1]].decode("utf-32-le", "surrogatepass"))
        for c in cells
    ]
    lengths = np.diff(starts)
    simple = np.ones(lengths.size, bool)
    simple[cells] = False
    from_simple = np.repeat(simple, lengths)
    lengths[cells] = [s.cids.size for s in shaped]
    into = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(lengths, out=into[1:])
    to_simple = np.repeat(simple, lengths)
    cids = np.empty(int(into[-1]), np.uint16)
    levels = np.zeros(int(into[-1]), np.uint8)
    cids[to_simple] = font.cids(codepoints[from_simple])
    cids[~to_simple] = np.concatenate([s.cids for s in shaped])
    levels[~to_simple] = np.concatenate([s.levels for s in shaped])
    if not levels.any():
        return Glyphs(cids, into)
    rtl = np.zeros(lengths.size, bool)
    rtl[cells] = [s.rtl for s in shaped]
    return Glyphs(cids, into, levels, rtl)
