"""Statistics of the ledger as Prometheus metrics.

All metrics are gauges: they are read from the ledger, so every process reports the same values. Prometheus
adds datasets and divides rows by seconds itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from export_pipeline.jobs.states import Status
from export_pipeline.jobs.stats import DatasetQueue, Ended, Statistics
from export_pipeline.store.file_modes import usual_umask

if TYPE_CHECKING:
    from prometheus_client import Metric

WITHIN = timedelta(hours=1)

_PREFIX = "export_pipeline_"
_QUEUE: list[tuple[str, str, Callable[[DatasetQueue], float]]] = [
    ("queue_depth", "Requests that wait.", attrgetter("pending")),
    ("oldest_wait_seconds", "Time that the oldest request has waited.", attrgetter("oldest_wait")),
    ("in_flight", "Requests that are worked on or about to be.", attrgetter("in_flight")),
]
_ENDED = {
    "rows": "Rows in the files that were completed in the last hour.",
    "bytes": "Bytes of the files that were completed in the last hour.",
    "seconds": "Seconds that the runs of requests took that ended in the last hour, added up.",
    "longest_seconds": "The longest of them.",
    "waited_seconds": "Seconds that these requests had waited to be begun, added up.",
}
_OF_FILES = ("rows", "bytes")

Sample = tuple[dict[str, str], float]


def metrics_text(statistics: Statistics) -> str:
    """Return metrics of the queue and of the last hour's requests in Prometheus's text format.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    from prometheus_client import generate_latest

    return generate_latest(_Collector(statistics)).decode()


def write_metrics(statistics: Statistics, file: Path) -> None:
    """Write the metrics to a file for the node exporter's textfile collector. Replaces the file atomically.

    Raises:
        LedgerError: the ledger cannot be read.
        OSError: the file cannot be written.
    """
    from prometheus_client import write_to_textfile

    with usual_umask():  # the node exporter runs as another user
        write_to_textfile(str(file), _Collector(statistics))


class _Collector:
    """The collector that prometheus_client calls for samples."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        yield from _queue(self._statistics)
        yield from _ended(self._statistics.ended(WITHIN))


def _queue(statistics: Statistics) -> Iterator[Metric]:
    queue = statistics.queue()
    for name, help, value in _QUEUE:
        yield _gauge(name, help, [({"dataset": one.dataset}, value(one)) for one in queue])
    mails = [({"status": status}, count) for status, count in sorted(statistics.unsent_mails().items())]
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
    counts = {(one.dataset, one.status): one.count for one in ended}
    ratios: list[Sample] = []
    for dataset in dict.fromkeys(one.dataset for one in ended):
        good, bad = (counts.get((dataset, status), 0) for status in (Status.COMPLETED, Status.FAILED))
        if good + bad:
            ratios.append(({"dataset": dataset}, bad / (good + bad)))
    help = "Requests that failed in the last hour, of those that failed or were completed (0 to 1)."
    yield _gauge("failure_ratio_last_hour", help, ratios)


def _gauge(name: str, help: str, samples: Iterable[Sample]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(_PREFIX + name, help)
    for labels, value in samples:
        gauge.add_sample(_PREFIX + name, labels, value)
    return gauge
