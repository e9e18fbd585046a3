"""The ledger's figures in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from export_pipeline.jobs.figures import Ended, Figures, Queue
from export_pipeline.jobs.states import Status

WITHIN = timedelta(hours=1)

_ENDED = [
    ("rows", "Rows in the files that were completed in the last hour."),
    ("bytes", "Bytes of the files that were completed in the last hour."),
    ("seconds", "Seconds that the runs of requests took that ended in the last hour, added up."),
    ("longest_seconds", "The longest of them."),
    ("waited_seconds", "Seconds that these requests had waited to be begun, added up."),
]


def metrics_text(figures: Figures) -> str:
    """What waits, what is worked on, and what ended in the last hour by dataset and status.

    Every one is a gauge: they are read from the ledger, so they are the same whichever process asks.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    queue, ended = figures.queue(), figures.ended(WITHIN)
    lines = [*_queue(queue), *_ended(ended)]
    return "\n".join(lines) + "\n"


def _queue(queue: Queue) -> Iterator[str]:
    yield from _gauge("queue_depth", "Requests that wait.", [("", queue.pending)])
    yield from _gauge("oldest_wait_seconds", "How long the oldest of them waits.", [("", queue.oldest_wait)])
    yield from _gauge("in_flight", "Requests that are worked on or about to be.", [("", queue.in_flight)])
    mails = [(_labels(status=status), count) for status, count in sorted(queue.deliveries.items())]
    yield from _gauge("deliveries", "Mails that are not sent, by status.", mails)


def _ended(ended: Sequence[Ended]) -> Iterator[str]:
    for status in (Status.COMPLETED, Status.FAILED, Status.CANCELED):
        these = [(_labels(dataset=one.dataset), one.count) for one in ended if one.status is status]
        yield from _gauge(f"{status}_last_hour", f"Requests that ended as {status} in the last hour.", these)
    for name, help in _ENDED:
        values = [
            (_labels(dataset=one.dataset, status=one.status), getattr(one, name))
            for one in ended
            if one.status is Status.COMPLETED or name not in ("rows", "bytes")
        ]
        yield from _gauge(f"{name}_last_hour", help, values)


def _gauge(name: str, help: str, samples: Sequence[tuple[str, float]]) -> Iterator[str]:
    full = f"export_pipeline_{name}"
    yield f"# HELP {full} {help}"
    yield f"# TYPE {full} gauge"
    for labels, value in samples:
        yield f"{full}{labels} {value if isinstance(value, int) else format(value, '.3f')}"


def _labels(**labels: str) -> str:
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{told}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
