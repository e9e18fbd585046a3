"""GUIDs of takeoffs, thousands at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import build_strings, bytes_of

Words = npt.NDArray[np.uint64]

_UUID = r"\A[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\z"
_DIGITS = np.array([index for index in range(36) if index not in (8, 13, 18, 23)])
_VALUE = np.zeros(256, np.uint8)
for _digit in b"0123456789abcdefABCDEF":
    _VALUE[_digit] = int(chr(_digit), 16)
_HEX = np.frombuffer("".join(f"{value:02X}" for value in range(256)).encode(), np.uint8).reshape(256, 2)
_BLANK = np.frombuffer(b"{00000000-0000-0000-0000-000000000000}", np.uint8)


def derive_guids(ids: pa.Array, number: npt.NDArray[np.int64]) -> pa.Array:
    """Return a GUID in braces and capitals for each takeoff; "" if its measurement's id is not a UUID.

    Args:
        ids: string by takeoff: the id of its measurement.
        number: Number of the takeoff in its measurement. 0 has the measurement's own id; others have UUIDs
            (version 8) derived from it and their number, the same in each export.
    """
    known = pc.fill_null(pc.match_substring_regex(ids, _UUID), False)
    texts = pc.if_else(known, ids, "00000000-0000-0000-0000-000000000000")
    digits = _VALUE[bytes_of(texts).reshape(-1, 36)[:, _DIGITS]]
    octets = np.ascontiguousarray(digits[:, 0::2] << 4 | digits[:, 1::2])
    words = octets.view(">u8").astype(np.uint64)
    later = number > 0
    words[later] = _derive(words[later], number[later].astype(np.uint64))
    octets = words.astype(">u8").view(np.uint8)
    out = np.tile(_BLANK, (len(number), 1))
    out[:, 1 + _DIGITS] = _HEX[octets].reshape(-1, 32)
    guids = build_strings(out.ravel(), np.arange(len(number) + 1, dtype=np.int32) * _BLANK.size)
    return pc.if_else(known, guids, "")


def _derive(words: Words, number: Words) -> Words:
    high = _mix(words[:, 0] ^ _mix(words[:, 1] + number * np.uint64(0x9E3779B97F4A7C15)))
    low = _mix(high ^ (words[:, 1] + number))
    high = high & np.uint64(0xFFFFFFFFFFFF0FFF) | np.uint64(0x8000)
    low = low & np.uint64(0x3FFFFFFFFFFFFFFF) | np.uint64(0x8000000000000000)
    return np.stack((high, low), axis=1)


def _mix(words: Words) -> Words:
    """Return well-mixed bits (the finalizer of SplitMix64)."""
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return words ^ words >> np.uint64(31)
