"""Direct access to the bytes of Arrow's string arrays, for scans of a whole batch at once.

A numpy pass over the bytes of a column takes a tenth of the time of a regular expression, and most columns
of most batches contain none of the bytes that are searched for.
"""

from __future__ import annotations

from typing import TypeAlias

from export_pipeline.core.arrow import np, npt, pa

Bytes: TypeAlias = "npt.NDArray[np.uint8]"
Marks: TypeAlias = "npt.NDArray[np.bool_]"


def offsets_of(array: pa.Array) -> npt.NDArray[np.int32]:
    """Return the start of each cell of a string array in its buffer, followed by the end of the last cell."""
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(len(array) + 1, np.int32)
    return np.frombuffer(buffer, np.int32)[array.offset : array.offset + len(array) + 1]


def bytes_of(array: pa.Array) -> Bytes:
    """Return the bytes of a string array, cell after cell, without a copy. Null cells may have bytes too."""
    offsets, buffer = offsets_of(array), array.buffers()[2]
    if buffer is None:
        return np.zeros(0, np.uint8)
    return np.frombuffer(buffer, np.uint8)[offsets[0] : offsets[-1]]


def data_of(array: pa.Array) -> memoryview:
    """Return the bytes of a string array as a buffer that can be written to a file."""
    return bytes_of(array).data


def build_strings(
    data: Bytes | bytes, offsets: npt.NDArray[np.int32], like: pa.Array | None = None
) -> pa.Array:
    """Return a string array over these bytes (valid UTF-8).

    Args:
        data: The bytes of all cells, one after the other.
        offsets: The start of each cell, followed by the end of the last one.
        like: An array of equal length whose nulls are copied.
    """
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    if like is None or not like.null_count:
        return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)
    valid = like.buffers()[0] if like.offset == 0 else like.is_valid().buffers()[1]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, [valid, *buffers[1:]])


def pack_mask(marks: Marks) -> pa.Array:
    """Return the marks as an Arrow boolean array."""
    bits = np.packbits(marks, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(marks), [None, pa.py_buffer(bits)])


def find_cells(array: pa.Array, characters: bytes, below: int = 0) -> Marks | None:
    """Return which cells contain one of the wanted bytes or a byte less than `below`.

    None means that no cell does; this is the fastest result.
    """
    data = bytes_of(array)
    if not len(data):
        return None
    here = data == characters[0]
    for byte in characters[1:]:
        here |= data == byte
    if below:
        here |= data < below
    if not here.any():
        return None
    offsets = offsets_of(array)
    return count_marks(here, offsets - offsets[0]) > 0


def count_marks(marks: Marks, offsets: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the number of marked bytes of each cell. Bits are counted 64 at a time."""
    bits = np.packbits(marks, bitorder="little")
    words = np.zeros(len(bits) // 8 + 1, "<u8")
    words.view(np.uint8)[: len(bits)] = bits
    before = np.zeros(len(words), np.int64)
    np.cumsum(np.bitwise_count(words[:-1]), out=before[1:])
    word, bit = offsets >> 6, (offsets & 63).astype(np.uint64)
    rest = words[word] & ((np.uint64(1) << bit) - np.uint64(1))
    counts: npt.NDArray[np.int64] = np.diff(before[word] + np.bitwise_count(rest))
    return counts


def first_bytes(array: pa.Array) -> Bytes:
    """Return the first byte of each cell; "a" for an empty one."""
    offsets, data = offsets_of(array), bytes_of(array)
    if not len(data):
        return np.full(len(array), ord("a"), np.uint8)
    starts = np.minimum(offsets[:-1] - offsets[0], len(data) - 1)
    return np.where(offsets[1:] > offsets[:-1], data[starts], np.uint8(ord("a")))
