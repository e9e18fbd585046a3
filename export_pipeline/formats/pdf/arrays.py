"""Helpers for Arrow arrays: conversion from numpy, joined strings, batches of a good size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_BATCH_ROWS = 8_192
_BATCH_BYTES = 1 << 20


def integers(values: NDArray[np.integer]) -> pa.Array:
    """Convert a numpy array of integers to Arrow, without a copy and without pandas."""
    kinds = {np.dtype(np.int64): pa.int64(), np.dtype(np.uint64): pa.uint64(), np.dtype(np.int32): pa.int32()}
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(kinds[values.dtype], values.size, [None, pa.py_buffer(values)])


def booleans(values: NDArray[np.bool_]) -> pa.Array:
    """Convert a numpy array of booleans to Arrow."""
    packed = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), values.size, [None, pa.py_buffer(packed)])


def join(*pieces: pa.Array | str) -> pa.Array:
    """Concatenate strings row by row."""
    return pc.binary_join_element_wise(*pieces, "")


def batches(source: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Regroup rows into batches that are quick to lay out and small to hold."""
    waiting: list[pa.RecordBatch] = []
    for batch in source:
        if not batch.num_rows:
            continue
        small = batch.num_rows < _BATCH_ROWS // 4 and batch.nbytes < _BATCH_BYTES // 4
        if small and sum(b.num_rows for b in waiting) < _BATCH_ROWS:
            waiting.append(batch)
            continue
        yield from _cut(waiting)
        waiting = []
        yield from _cut([batch])
    yield from _cut(waiting)


def _cut(parts: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if not parts:
        return
    whole = parts[0] if len(parts) == 1 else pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
    share = _BATCH_BYTES * whole.num_rows // max(1, whole.nbytes)
    step = max(1, min(_BATCH_ROWS, share))
    for start in range(0, whole.num_rows, step):
        yield whole.slice(start, step)
