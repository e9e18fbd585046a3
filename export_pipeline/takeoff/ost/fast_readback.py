"""Read a sound file of On-Screen Takeoff XML quickly: ordinary takeoffs bypass the XML parser.

The parser reads everything else, and a mark in place of each run of takeoffs, so a run is accepted only
where an element would be. No problem is explained here; at the first doubt there is no result.
"""

from __future__ import annotations

import secrets
from itertools import chain
from pathlib import Path
from xml.parsers import expat

import numpy as np

from export_pipeline.core.streams import map_concurrently
from export_pipeline.takeoff.ost import contract
from export_pipeline.takeoff.ost.fast_takeoffs import Run, chunks, pieces
from export_pipeline.takeoff.ost.readback import LARGEST_UID, DoctypeError, Inspection, Reader

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _DoubtError(Exception):
    """Raised if something differs from a sound file."""


class _QuickReader(Reader):
    """A reader that accepts runs of takeoffs, and stops at the first problem."""

    def __init__(self) -> None:
        super().__init__()
        # No file can know it, so none can hold such a mark of its own.
        self._mark = f"run-{secrets.token_hex(16)}"
        self._waiting: Run | None = None

    def parser(self) -> expat.XMLParserType:
        parser = super().parser()
        parser.ProcessingInstructionHandler = self._instruction
        return parser

    def problem(self, rule: str, where: str, message: str) -> None:
        raise _DoubtError

    def read(self, parser: expat.XMLParserType, run: Run) -> None:
        """Pass a mark to the parser, and add the run when the parser reaches it."""
        self._waiting = run
        parser.Parse(f"<?{self._mark}?>".encode(), False)
        if self._waiting is not None:
            raise _DoubtError

    def _instruction(self, target: str, data: str) -> None:
        if target == self._mark and self._waiting is not None:
            run, self._waiting = self._waiting, None
            self._take(run)

    def _take(self, run: Run) -> None:
        stack = self._stack
        if len(stack) != 5 or (stack[1], stack[4]) != ("Bid", "BidTakeoffs"):
            raise _DoubtError
        which, inverse = np.unique(run.conditions, return_inverse=True)
        conditions = [self._conditions.get(uid) for uid in which.tolist()]
        before = self._before.get("BidTakeoffs", LARGEST_UID + 1)
        descending = before > run.uids[0] and run.uids[-1] > 0 and (np.diff(run.uids) < 0).all()
        known = self._uids["Bid"].issuperset(np.unique(run.bids).tolist()) and None not in conditions
        if not descending or not known or (run.pages != self._page).any():
            raise _DoubtError
        types = np.array([condition.type for condition in conditions if condition])[inverse]
        linear, area = types == contract.LINEAR, types == contract.AREA
        polygon = (run.counts >= 6) & (run.counts % 2 == 0) & ~run.closed
        if not np.select([linear, area], [run.counts == 4, polygon], run.counts == 2).all():
            raise _DoubtError
        signs = np.where(run.negative, -1.0, 1.0) * np.where(area & (run.parents > 0), -1.0, 1.0)
        sums = np.bincount(inverse, signs * np.select([linear, area], [run.lengths, run.areas], 1.0))
        for condition, size in zip(conditions, sums.tolist(), strict=True):
            if condition:
                condition.raw += size
        self._before["BidTakeoffs"] = int(run.uids[-1])
        self._takeoff_uids.frombytes(run.uids.tobytes())
        self._parents.frombytes(run.parents[run.parents != 0].tobytes())
        self._numbers.frombytes(run.numbers[run.numbers != 0].tobytes())


def inspect(path: Path) -> Inspection | None:
    """Return the content of a sound file; None if it is not sound or in doubt. Raises OSError only."""
    reader = _QuickReader()
    parser = reader.parser()
    try:
        with path.open("rb") as file:
            for piece in chain.from_iterable(map_concurrently(pieces, chunks(file))):
                if isinstance(piece, Run):
                    reader.read(parser, piece)
                elif piece.startswith(_BYTE_ORDER_MARK) or piece.count(b"\n") != piece.count(b"\r\n"):
                    return None
                else:
                    parser.Parse(piece, False)
        parser.Parse(b"", True)
        return reader.finished()
    except (expat.ExpatError, DoctypeError, _DoubtError):
        return None
