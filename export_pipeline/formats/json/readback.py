"""Read JSON back, without the layout.

Arrow's parser reads a file with one row per line (an array, an object with one array, or bare lines),
block by block. Any other file is read event by event, which takes ten times as long.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
import pyarrow as pa

from export_pipeline.core.buffers import Bytes, build_strings
from export_pipeline.core.streams import WORKERS, map_concurrently
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.sums import add_parts, sum_finite

_BLOCK = 4 << 20
_LONGEST_LINE = 64 << 20
_SAMPLED = 1000
_MAX_NUMBERS = 4096
_HEAD = re.compile(rb'(\{"(?:[^"\\]|\\.)*":)?\[\n')
_IS_BLANK = np.isin(np.arange(256), list(b" \t\r\n"))
_NONE: Bytes = np.zeros(0, np.uint8)
_TOP_ARRAY = re.compile(r"[^.]+\.item")


class _OtherShapeError(Exception):
    """Raised if the file does not have one row per line."""


def read_back(path: Path) -> FileFacts:
    """Parse the whole file, count the export's rows and add up their numbers by key.

    A document may name the array that holds the rows in `exportInfo.rowsPath`, e.g.
    "conditions[].measurements[]"; otherwise it is the file's root or the first array of objects in it.
    Numbers inside a row's own arrays and objects are not added.
    """
    try:
        with path.open("rb") as file:
            return _by_lines(file, certain=path.suffix == ".jsonl")
    except _OtherShapeError:
        return _by_events(path)


def _by_lines(file: BinaryIO, certain: bool) -> FileFacts:
    """Read an array, an object with one array, or lines; `certain` if the file is known to be lines."""
    rows = 0
    sums: defaultdict[str, list[float]] = defaultdict(list)
    start = file.read(_BLOCK)
    head = _HEAD.match(start)
    if head:
        blocks = _blocks(start[head.end() :], file, b"},\n", b"]}" if head[1] else b"]")
    elif start == (b"" if certain else b"\n") or _is_row(start, certain):
        blocks = _blocks(start, file, b"}\n", b"")
    else:
        raise _OtherShapeError
    first = next(blocks, _NONE)
    end = b"},\n" if head else b"}\n"
    keys = _numeric_keys(_bare(first.copy(), end))

    def facts(block: Bytes) -> tuple[int, dict[str, float]]:
        return _facts(_bare(block, end), keys)

    try:
        for count, totals in map_concurrently(facts, chain((first,), blocks)):
            rows += count
            for key, total in totals.items():
                sums[key].append(total)
    except orjson.JSONDecodeError as error:
        if head:
            raise _OtherShapeError from None
        return FileFacts(rows, {}, (f"after row {rows:,} a line is not valid JSON: {error}",))
    return FileFacts(rows, {key: add_parts(parts) for key, parts in sums.items()})


def _blocks(start: bytes, file: BinaryIO, end: bytes, tail: bytes) -> Iterator[Bytes]:
    """Yield the rows in blocks of whole lines.

    Args:
        start: Bytes already read after the first line.
        end: The end of every row's line; added to the last line as far as it is missing there.
        tail: Bytes that must follow the last row.
    """
    rest: bytes | bytearray = start
    while True:
        block = bytearray(len(rest) + _BLOCK)
        block[: len(rest)] = rest
        with memoryview(block) as view:
            size = len(rest) + file.readinto(view[len(rest) :])  # type: ignore[attr-defined]
        if size == len(rest):
            break
        cut = block.rfind(end, 0, size) + len(end)
        if cut >= len(end):
            rest = block[cut:size]
            yield np.frombuffer(block, np.uint8, cut)
        else:
            rest = block[:size]
        if len(rest) > _LONGEST_LINE:
            raise _OtherShapeError
    last = rest.strip()
    if not last.endswith(tail):
        raise _OtherShapeError
    last = last.removesuffix(tail).rstrip()
    if last:
        yield np.frombuffer(bytearray(last + end[1:]), np.uint8)


def _bare(block: Bytes, end: bytes) -> Bytes:
    """Return the block with a blank for the comma at the end of each line. Each line must hold one object.

    Raises:
        _OtherShapeError: The lines hold something else.
    """
    if not len(block):
        return block
    ends = np.flatnonzero(block == ord("\n"))
    closes = ends - len(end) + 1
    is_whole = block[0] == ord("{") and (block[ends[:-1] + 1] == ord("{")).all()
    if not is_whole or not (block[closes] == ord("}")).all():
        raise _OtherShapeError
    if len(end) == 3:
        if not (block[ends - 1] == ord(",")).all():
            raise _OtherShapeError
        block[ends - 1] = ord(" ")
    return block


def _is_row(start: bytes, certain: bool) -> bool:
    """Return whether the file's first line is a row: an object, and, if it is the only line, not a
    document with rows.
    """
    line, _, more = start.partition(b"\n")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(value, dict):
        return False
    arrays = [item for item in value.values() if isinstance(item, list)]
    holds_rows = any(array and isinstance(array[0], dict) for array in arrays) or list(value.values()) == [[]]
    return certain or bool(more) or not holds_rows


def _numeric_keys(block: Bytes) -> list[str]:
    """Return the keys whose first values are all numbers or missing."""
    numeric: dict[str, bool] = {}
    for line in block.tobytes().split(b"\n", _SAMPLED)[:_SAMPLED]:
        try:
            row = orjson.loads(line or b"{}")
        except orjson.JSONDecodeError:
            raise _OtherShapeError from None
        for key, value in row.items():
            numeric[key] = numeric.get(key, True) and (value is None or _is_number(value))
    return [key for key, yes in numeric.items() if yes]


def _facts(block: Bytes, keys: list[str]) -> tuple[int, dict[str, float]]:
    """Return the number of rows in a block, and the sums of their numbers under these keys.

    Raises:
        orjson.JSONDecodeError: A line is not valid JSON.
    """
    from pyarrow import json as arrow_json

    if not len(block):
        return 0, {}
    lines = int(np.count_nonzero(block == ord("\n")))
    # Arrow's parser crashes on a null between objects; and it accepts NaN and infinities, which JSON forbids.
    if _holds(block, b"NaN") or _holds(block, b"Inf") or _has_stray_null(block):
        return _one_by_one(block)
    # One key that no row has: without any the parser would infer types for all.
    schema = pa.schema([(key, pa.float64()) for key in keys or ["\u0001"]])
    try:
        build_strings(block, np.array([0, len(block)], np.int32)).validate(full=True)  # UTF-8
        table = arrow_json.read_json(
            pa.BufferReader(pa.py_buffer(block)),
            # In threads of its own: in this one it would hold the interpreter lock while it parses.
            read_options=arrow_json.ReadOptions(block_size=len(block) // WORKERS + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return _one_by_one(block)
    if table.num_rows != lines:
        return _one_by_one(block)
    return lines, {key: sum_finite(table.column(key)) for key in keys}


def _holds(block: Bytes, text: bytes) -> bool:
    places = np.flatnonzero(block[: 1 - len(text)] == text[0])
    for index, byte in enumerate(text):
        places = places[block[places + index] == byte]
    return len(places) > 0


def _has_stray_null(block: Bytes) -> bool:
    places = np.flatnonzero(block == ord("}")) + 1
    while len(places := places[places < len(block)]):
        after = block[places]
        if any(block[place : place + 4].tobytes() == b"null" for place in places[after == ord("n")]):
            return True
        places = places[_IS_BLANK[after]] + 1
    return False


def _one_by_one(block: Bytes) -> tuple[int, dict[str, float]]:
    """Do the same as `_facts` with a strict parser, line by line."""
    rows = 0
    sums: defaultdict[str, list[float]] = defaultdict(list)
    for line in block.tobytes().splitlines():
        rows += 1
        for key, value in orjson.loads(line).items():
            if _is_number(value):
                sums[key].append(float(value))
    return rows, {key: add_parts(numbers) for key, numbers in sums.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _by_events(path: Path) -> FileFacts:
    import ijson

    rows, owner = 0, ""
    sums: defaultdict[str, list[float]] = defaultdict(list)
    try:
        with path.open("rb") as file:
            # Numbers without loss: the parser's own floats fail on integers beyond 64 bits.
            for prefix, event, value in ijson.parse(file):
                if event == "start_map":
                    if not owner and (prefix == "item" or _TOP_ARRAY.fullmatch(prefix)):
                        owner = prefix
                    rows += bool(owner) and prefix == owner
                elif event == "number" and owner and prefix.startswith(f"{owner}."):
                    key = prefix[len(owner) + 1 :]
                    if "." not in key:  # not inside a JSON column's value
                        numbers = sums[key]
                        numbers.append(float(value))
                        if len(numbers) == _MAX_NUMBERS:
                            numbers[:] = [add_parts(numbers)]
                elif prefix == "exportInfo.rowsPath":
                    owner, rows = value.replace("[]", ".item"), 0
                    sums.clear()
    except (ijson.JSONError, UnicodeDecodeError) as error:
        return FileFacts(rows, {}, (f"not valid JSON: {error}",))
    return FileFacts(rows, {key: add_parts(numbers) for key, numbers in sums.items()})
