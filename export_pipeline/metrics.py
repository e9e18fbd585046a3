"""Statistics of the ledger as Prometheus metrics.

All metrics are gauges: they are read from the ledger, so every process reports the same values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from export_pipeline.jobs.states import Status
from export_pipeline.jobs.stats import Ended, Statistics
from export_pipeline.store.file_modes import usual_umask

if TYPE_CHECKING:
    from prometheus_client import Metric

WITHIN = timedelta(hours=1)

_PREFIX = "export_pipeline_"
_ENDED = {
    "rows": "Rows in the files that were completed in the last hour.",
    "bytes": "Bytes of the files that were completed in the last hour.",
    "seconds": "Seconds that the runs of requests took that ended in the last hour, added up.",
    "longest_seconds": "The longest of them.",
    "waited_seconds": "Seconds that these requests had waited to be begun, added up.",
}
_OF_FILES = ("rows", "bytes")

Sample = tuple[dict[str, str], float]


def metrics_text(figures: Statistics) -> str:
    """Return metrics of the queue and of the last hour's requests in Prometheus's text format.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    from prometheus_client import generate_latest

    return generate_latest(_Collector(figures)).decode()


def write_metrics(figures: Statistics, file: Path) -> None:
    """Write the metrics to a file for the node exporter's textfile collector. Replaces the file atomically.

    Raises:
        LedgerError: the ledger cannot be read.
        OSError: the file cannot be written.
    """
    from prometheus_client import write_to_textfile

    with usual_umask():  # the node exporter runs as another user
        write_to_textfile(str(file), _Collector(figures))


class _Collector:
    """The collector that prometheus_client calls for samples."""

    def __init__(self, figures: Statistics) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from _queue(self._figures)
        yield from _ended(self._figures.ended(WITHIN))


def _queue(figures: Statistics) -> Iterator[Metric]:
    queue, datasets = figures.queue(), figures.queues()
    depth, oldest = "Requests that wait", "How long the oldest request waits"
    flying = "Requests that are worked on or about to be"
    yield _gauge("queue_depth", f"{depth}.", [({}, queue.pending)])
    yield _gauge("oldest_wait_seconds", f"{oldest}.", [({}, queue.oldest_wait)])
    yield _gauge("in_flight", f"{flying}.", [({}, queue.in_flight)])
    for name, help, values in (
        ("queue_depth", depth, {one.dataset: one.pending for one in datasets}),
        ("oldest_wait_seconds", oldest, {one.dataset: one.oldest_wait for one in datasets}),
        ("in_flight", flying, {one.dataset: one.in_flight for one in datasets}),
    ):
        samples = [({"dataset": dataset}, value) for dataset, value in values.items()]
        yield _gauge(f"dataset_{name}", f"{help}, by dataset.", samples)
    mails = [({"status": status}, count) for status, count in sorted(queue.deliveries.items())]
    yield _gauge("deliveries", "Mails that are not sent, by status.", mails)


def _ended(ended: list[Ended]) -> Iterator[Metric]:
    for status in (Status.COMPLETED, Status.FAILED, Status.CANCELED):
        these = [({"dataset": one.dataset}, one.count) for one in ended if one.status is status]
        yield _gauge(f"{status}_last_hour", f"Requests that ended as {status} in the last hour.", these)
    for name, help in _ENDED.items():
        samples = [
            ({"dataset": one.dataset, "status": str(one.status)}, float(getattr(one, name)))
            for one in ended
            if one.status is Status.COMPLETED or name not in _OF_FILES
        ]
        yield _gauge(f"{name}_last_hour", help, samples)
    speeds = [
        ({"dataset": one.dataset}, one.rows / one.seconds)
        for one in ended
        if one.status is Status.COMPLETED and one.seconds > 0
    ]
    yield _gauge("rows_per_second_last_hour", "Rows of these files a second of their runs.", speeds)
    counts = {(one.dataset, one.status): one.count for one in ended}
    ratios: list[Sample] = []
    for dataset in dict.fromkeys(one.dataset for one in ended):
        good, bad = (counts.get((dataset, status), 0) for status in (Status.COMPLETED, Status.FAILED))
        if good + bad:
            ratios.append(({"dataset": dataset}, bad / (good + bad)))
    said = "Requests that failed in the last hour, of those that failed or were completed (0 to 1)."
    yield _gauge("failure_ratio_last_hour", said, ratios)


def _gauge(name: str, help: str, samples: Iterable[Sample]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(_PREFIX + name, help)
    for labels, value in samples:
        gauge.add_sample(_PREFIX + name, labels, value)
    return gauge
