"""The functions of expressions about dates and times. A timestamp is read in the local time of its zone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.columns import Kind
from export_pipeline.core.local_time import to_local
from export_pipeline.expressions.nodes import Make, Node, Run, require_kind
from export_pipeline.expressions.types import DATE, INTEGER, TEXT, Cells, Env, Type, common_type, decimal


def local(cells: Cells, kind: Type) -> Cells:
    """Convert timestamps to the local time of their zone."""
    return cells if kind.zone is None else to_local(cells, kind.zone)


def _days(cells: Cells, kind: Type) -> Cells:
    """Return the day of dates, or of timestamps in their zone."""
    return (
        cells
        if kind.kind is Kind.DATE
        else pc.floor_temporal(local(cells, kind), unit="day").cast(DATE.arrow)
    )


def part_of(name: str, function: Callable[[Cells], Cells] | None = None) -> Make:
    """Return a function that extracts a part of a date or of a timestamp; the hour only of a timestamp.

    Args:
        function: Extracts the part; by default Arrow's function of this name.
    """

    def make(arguments: Sequence[Node]) -> Node:
        node = arguments[0]
        require_kind(
            node, f"{name}(x)", *((Kind.TIMESTAMP,) if name == "hour" else (Kind.DATE, Kind.TIMESTAMP))
        )

        def run(env: Env) -> Cells:
            cells = node.run(env)
            extract = function or getattr(pc, name)
            return extract(cells if node.type.kind is Kind.DATE else local(cells, node.type)).cast(pa.int64())

        return Node(INTEGER, run)

    return make


def date_of(arguments: Sequence[Node]) -> Node:
    """Return the day of a timestamp in its zone."""
    node = arguments[0]
    require_kind(node, "date(timestamp)", Kind.TIMESTAMP, Kind.DATE)
    return Node(DATE, lambda env: _days(node.run(env), node.type))


def days_between(arguments: Sequence[Node]) -> Node:
    """Return the number of calendar days from the first to the second."""
    first, last = arguments
    for node in arguments:
        require_kind(node, "days_between(start, end)", Kind.DATE, Kind.TIMESTAMP)

    def run(env: Env) -> Cells:
        start, end = (
            _days(node.run(env), node.type).cast(pa.int32()).cast(pa.int64()) for node in (first, last)
        )
        return pc.subtract(end, start)

    return Node(INTEGER, run)


def _microseconds(arguments: Sequence[Node], usage: str) -> Run:
    first, last = arguments
    for node in arguments:
        require_kind(node, usage, Kind.TIMESTAMP)
    common_type(first.type, last.type)

    def run(env: Env) -> Cells:
        start, end = (node.run(env).cast(pa.int64()) for node in (first, last))
        return pc.subtract_checked(end, start)

    return run


def seconds_between(arguments: Sequence[Node]) -> Node:
    """Return the seconds from the first timestamp to the second, a decimal with 6 decimal places."""
    elapsed = _microseconds(arguments, "seconds_between(start, end)")
    result = decimal(19, 6)

    def run(env: Env) -> Cells:
        micros = elapsed(env).cast(pa.decimal128(19, 0))
        return pc.multiply(micros, pa.scalar(_MICRO, pa.decimal128(6, 6))).cast(result.arrow)

    return Node(result, run)


def duration(arguments: Sequence[Node]) -> Node:
    """Return the time from the first timestamp to the second as the string H:MM:SS, in completed seconds."""
    elapsed = _microseconds(arguments, "duration(start, end)")

    def run(env: Env) -> Cells:
        seconds = pc.divide(elapsed(env), 1_000_000)  # towards zero: only completed seconds count
        size = pc.abs(seconds)
        minutes = pc.divide(size, 60)
        hours = pc.divide(minutes, 60)
        parts = [
            hours.cast(pa.string()),
            _two_digits(pc.subtract(minutes, pc.multiply(hours, 60))),
            _two_digits(pc.subtract(size, pc.multiply(minutes, 60))),
        ]
        sign = pc.if_else(pc.less(seconds, 0), "-", "")
        return pc.binary_join_element_wise(sign, pc.binary_join_element_wise(*parts, ":"), "")

    return Node(TEXT, run)


_MICRO = Decimal("0.000001")


def _two_digits(numbers: Cells) -> Cells:
    return pc.utf8_lpad(numbers.cast(pa.string()), 2, "0")


def monday_first(days: Cells) -> Cells:
    """Return the day of the week; Monday is 1."""
    return pc.day_of_week(days, count_from_zero=False, week_start=1)
