"""Renders a large export in parts: files with consecutive rows, rendered in parallel on all cores.

Each part is read back by itself. The rows and sums of all parts together are compared with the database's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO, cast

from export_pipeline.core.layout import Layout
from export_pipeline.core.streams import WORKERS
from export_pipeline.formats.base import FileFacts, Format, Rendered, RenderError
from export_pipeline.store.parts import MAX_PARTS, PartedUpload, RenderedPart
from export_pipeline.tabular.options import Parts

_SAMPLED_ROWS = 2_000
_SPARE = 1.1
"""Factor by which the rows of a part may be longer than those of the samples before it is rendered twice."""

_Made = tuple[RenderedPart, Rendered, FileFacts]


def limits_of(options: Mapping[str, Any], format: Format[Any]) -> Parts | None:
    """Return the maximum size of parts that the options request; None if the export is one file."""
    limits = Parts.model_validate(options.get("parts") or {})
    return limits if format.has_parts and (limits.max_rows or limits.max_bytes) else None


def render_parts(
    upload: PartedUpload,
    layout: Layout,
    format: Format[Any],
    options: Any,
    limits: Parts,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Rendered, FileFacts]:
    """Render all parts into the store and read them back.

    Memory use does not depend on the number of rows.

    Args:
        upload: Takes the parts. If this function raises, the caller must abort it.
        options: Options of the format.
        report: Called with the rows that are in proven parts, and with all.

    Returns:
        The sums of what the renderer and the reader say of the parts.

    Raises:
        RenderError: A row cannot be written in this format, or there are too many parts.
        StoreError: The store cannot be used.
    """
    arranged = format.arrange(layout, options)
    total = arranged.main.rows
    step = min(limits.max_rows or total, _rows_within(limits.max_bytes, arranged, format, options)) or 1
    _check_number(math.ceil(total / step), total)

    def make(start: int) -> list[_Made]:
        return list(_render(upload, arranged, format, options, limits, start, min(start + step, total)))

    rendered, facts = Rendered(), list[FileFacts]()
    starts = iter(range(0, max(total, 1), step))
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="part") as pool:
        running: set[Future[list[_Made]]] = {pool.submit(make, start) for start in islice(starts, WORKERS)}
        try:
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    for part, of_part, read in future.result():
                        upload.add(part)
                        _add(rendered, of_part)
                        facts.append(read)
                    _check_number(len(facts), total)  # some were split, as they had too many bytes
                    running |= {pool.submit(make, start) for start in islice(starts, 1)}
                report(rendered.rows, total)
        except BaseException:
            upload.abort()  # so that the other threads can write no more
            raise
    return rendered, sum_facts(facts)


def _check_number(parts: int, rows: int) -> None:
    if parts > MAX_PARTS:
        raise RenderError(
            f"{rows:,} rows make more than {MAX_PARTS:,} parts: ask for larger ones with parts.max_rows or "
            "parts.max_bytes"
        )


def _render(
    upload: PartedUpload,
    arranged: Layout,
    format: Format[Any],
    options: Any,
    limits: Parts,
    start: int,
    stop: int,
) -> Iterator[_Made]:
    """Render the rows from `start` up to `stop`: as one part, or as two if it would be too large."""
    part = upload.begin(start + 1)
    rendered = format.write(format.share(arranged, start, stop), cast(BinaryIO, part), options)
    if limits.max_bytes and part.finish().bytes > limits.max_bytes and stop - start > 1:
        part.abort()
        middle = (start + stop) // 2
        yield from _render(upload, arranged, format, options, limits, start, middle)
        yield from _render(upload, arranged, format, options, limits, middle, stop)
        return
    part.finish()
    facts = format.read_back(part.path, options)
    if not facts.rows == rendered.rows == stop - start:
        problem = f"rows {start + 1:,} to {stop:,}: {facts.rows:,} in the file, {rendered.rows:,} written"
        facts = replace(facts, problems=(*facts.problems, problem))
    yield RenderedPart(part, start + 1, facts.rows), rendered, facts


def _rows_within(max_bytes: int | None, arranged: Layout, format: Format[Any], options: Any) -> int:
    """Return the number of rows that a part of this size holds, as far as samples tell."""
    total = arranged.main.rows
    if max_bytes is None:
        return total
    bytes_of_a_row = 1.0  # without rows some formats write nothing
    for start in {0, total // 2, max(total - _SAMPLED_ROWS, 0)}:
        stop = min(start + _SAMPLED_ROWS, total)
        counter = _Counter()
        format.write(format.share(arranged, start, stop), cast(BinaryIO, counter), options)
        bytes_of_a_row = max(bytes_of_a_row, counter.size / max(stop - start, 1))
    return max(1, int(max_bytes / (bytes_of_a_row * _SPARE)))


class _Counter:
    """A file that only counts its bytes."""

    closed = False

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        return size


def _add(rendered: Rendered, part: Rendered) -> None:
    rendered.rows += part.rows
    rendered.left_out += part.left_out
    rendered.changed.update(part.changed)
    rendered.warnings += [warning for warning in part.warnings if warning not in rendered.warnings]


def sum_facts(facts: Sequence[FileFacts]) -> FileFacts:
    """Return the combined facts of several files."""
    names = {name for one in facts for name in one.totals}
    return FileFacts(
        sum(one.rows for one in facts),
        {name: math.fsum(one.totals.get(name, 0.0) for one in facts) for name in names},
        tuple(problem for one in facts for problem in one.problems),
        tuple(chart for one in facts for chart in one.charts),
    )
