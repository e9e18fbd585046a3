"""Check the objects of a plain PDF, packed ones too: each is well-formed, and where cross-references say."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.formats.pdf.object_reader import PlainFile
from export_pipeline.formats.pdf.syntax import are_objects, has_repeated_key

_STREAM = re.compile(rb"/Type/ObjStm/N (\d+)/First (\d+)")
_PLACES = re.compile(rb"/Type/XRef/Size \d+/Index\[(\d+) (\d+)\]/W\[1 4 2\]")
_DIFFERENCES = re.compile(rb"/DecodeParms<</Predictor 12/Columns (\d+)>>")
_PLACE = np.dtype([("kind", "u1"), ("stream", ">u4"), ("index", ">u2")])
_NO_KEY_TWICE = (
    r"\A\s*(?:<</S/TD/P +\d+ 0 R/Pg +\d+ 0 R/K +\d+>>|<</S/TR/P +\d+ 0 R/K\[[\d R]*\]>>|\[[\d R]*\])\s*\z"
)
"""Objects that need no closer look at their keys: nearly all elements of a table, and lists of references."""
_PACKED = 2
_FROM_ABOVE = 2

Ints = NDArray[np.int64]


def has_sound_objects(file: PlainFile) -> bool:
    """Return True if all objects are sound; holds them in memory.

    False does not mean damage: a file may be written in a way that only a parser knows.
    """
    texts: list[bytes] = [file.trailer]
    data: list[bytes] = []
    edges: list[Ints] = []
    places: list[Ints] = []
    at = 0
    for number in file.numbers():
        entries = file.entries(number)
        if has_repeated_key(entries):
            return False
        texts.append(entries)
        if b"/ObjStm" not in entries:
            continue
        head = _STREAM.search(entries)
        content = _content(file, number, entries)
        numbers = _numbers(content[: int(head[2])]) if head else None
        if head is None or numbers is None or numbers.size != 2 * int(head[1]):
            return False
        bodies, starts = content[int(head[2]) :], numbers[1::2]
        if not starts.size or starts[0] or (np.diff(starts, append=len(bodies)) <= 0).any():
            return False
        data.append(bodies)
        edges.append(starts + at)
        at += len(bodies)
        places.append(np.stack([numbers[::2], np.full(starts.size, number), np.arange(starts.size)], axis=1))
    offsets = np.concatenate([*edges, np.array([at], np.int64)])
    packed = pa.Array.from_buffers(
        pa.large_binary(), offsets.size - 1, [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(data))]
    )
    plain = pc.match_substring_regex(packed, _NO_KEY_TWICE)
    if any(map(has_repeated_key, packed.filter(pc.invert(plain)).to_pylist())):
        return False
    is_listed = _are_listed(file, np.concatenate([np.empty((0, 3), np.int64), *places]))
    return is_listed and are_objects(pa.concat_arrays([pa.array(texts, pa.large_binary()), packed]))


def _content(file: PlainFile, number: int, entries: bytes) -> bytes:
    """Return the content of a stream, whose bytes may be differences from the row above; b"" if not sound."""
    content = file.stream(number)
    head = _DIFFERENCES.search(entries)
    if head is None:
        return content
    width = int(head[1]) + 1
    if len(content) % width:
        return b""
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    if (rows[:, 0] != _FROM_ABOVE).any():
        return b""
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).tobytes()


def _numbers(text: bytes) -> Ints | None:
    """Return the integers of a text; None if there is anything else."""
    words = pc.ascii_split_whitespace(pa.array([text.strip()], pa.binary()).view(pa.string())).flatten()
    try:
        return np.asarray(pc.cast(words, pa.int64()))
    except pa.ArrowInvalid:
        return None


def _are_listed(file: PlainFile, places: Ints) -> bool:
    """Return True if cross-references list just these packed objects: number, stream and place in it."""
    if file.packed_places is None:
        return not places.size
    entries = file.entries(file.packed_places)
    head = _PLACES.search(entries)
    content = _content(file, file.packed_places, entries)
    if head is None or len(content) != int(head[2]) * _PLACE.itemsize:
        return False
    first, count = int(head[1]), int(head[2])
    listed = np.frombuffer(content, _PLACE)
    places = places[np.argsort(places[:, 0])]
    return bool(
        np.array_equal(places[:, 0], np.arange(first, first + count))
        and (listed["kind"] == _PACKED).all()
        and np.array_equal(listed["stream"], places[:, 1])
        and np.array_equal(listed["index"], places[:, 2])
    )
