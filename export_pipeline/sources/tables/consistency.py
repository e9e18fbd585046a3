"""Detects sources whose rows change between reads of one snapshot, such as a view with random().

The export of such rows cannot be verified: the file would be blamed for an error of the source.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.special_numbers import to_finite_decimals
from export_pipeline.sources.snapshot import SourceError

Facts = tuple[int, Mapping[str, float]]
"""The number of rows, and the sums by column as returned by `count_and_totals`."""
_UNLIKE = 1e-6  # relative to the sum of absolute values; the verification of a file is stricter
_TRIES = 3  # counts may be equal by chance


class ConsistencyCheck:
    """Compares rows as they are read with the database's earlier count and sums.

    Args:
        source: Name of the table or view, for the message.
        facts: The database's count and sums.
        recount: Counts and sums again in the same snapshot.
        shares: Number of shares in which the rows are read.
    """

    def __init__(self, source: str, facts: Facts, recount: Callable[[], Facts], shares: int = 1) -> None:
        self._source, self._facts, self._recount, self._left = source, facts, recount, shares
        self._rows, self._sums = 0, Counter[str]()
        self._lock = Lock()

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches of one share; when the last share ends, compare.

        Raises:
            SourceError: A second count in the same snapshot gives a different result.
        """
        names = [name for name in self._facts[1] if name[0] not in "|±"]
        for batch in batches:
            sums = {name: _sum(batch[name]) for name in names}
            with self._lock:
                self._rows += batch.num_rows
                for name, value in sums.items():
                    self._sums[name] += value  # type: ignore[assignment]
            yield batch
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last and self._differs():
            self._explain()

    def _differs(self) -> bool:
        count, totals = self._facts
        return self._rows != count or any(
            not abs(self._sums[name] - total) <= _UNLIKE * (totals.get(f"|{name}|", abs(total)) + 1)
            for name, total in totals.items()
            if name[0] not in "|±"
        )

    def _explain(self) -> None:
        if all(self._recount() == self._facts for _ in range(_TRIES)):
            return  # the database is consistent; a reading error is found when the file is verified
        raise SourceError(
            f"{self._source} gives other rows or values at each read, as a view with random() or "
            f"clock_timestamp() does ({self._facts[0]:,} rows counted, {self._rows:,} read in the same "
            "snapshot), so no file of it can be proven: export a table or a materialized view instead."
        )


def _sum(array: pa.Array) -> float:
    array = to_finite_decimals(array)
    if pa.types.is_integer(array.type):
        array = array.cast(pa.float64(), safe=False)  # a sum of large integers would wrap around
    total = float(pc.sum(array).as_py() or 0)
    if math.isfinite(total):
        return total
    finite = array.filter(pc.fill_null(pc.is_finite(array), False))  # as the database sums them
    return float(pc.sum(finite).as_py() or 0)
