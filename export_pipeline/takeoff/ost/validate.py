"""The import rules of On-Screen Takeoff XML: a validator that also recomputes quantities from the takeoffs.

A file is read as a stream, by a parser that builds no tree: memory grows with the number of pages and
conditions, and by some 20 bytes per takeoff to check that UIDs are unique. It shares no code with the
writer. If a quick check finds a file in doubt, it is read again, element by element, to explain why.
"""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from export_pipeline.formats.base import FileFacts
from export_pipeline.takeoff.ost import fast_readback
from export_pipeline.takeoff.ost.quantities import Quantity
from export_pipeline.takeoff.ost.readback import DoctypeError, Inspection, Reader, RuleViolation

__all__ = ["Inspection", "Quantity", "RuleViolation", "check", "inspect", "quantities", "read_back"]

_CHUNK = 1 << 18


def read_back(path: Path) -> FileFacts:
    """Count the measurements, add up the conditions' totals (`quantity`), and check the import rules."""
    inspection = inspect(path)
    problems = tuple(str(problem) for problem in inspection.problems[:50])
    return FileFacts(inspection.measurements, {"quantity": inspection.quantity}, problems)


def check(path: Path) -> list[RuleViolation]:
    """Return the import rules that the file breaks; empty for a sound file. Raises OSError only."""
    return inspect(path).problems


def quantities(path: Path) -> dict[int, Quantity]:
    """Return each condition's quantity by its UID, from positions alone. Raises OSError only."""
    return inspect(path).quantities


def inspect(path: Path) -> Inspection:
    """Read a file and return its content and problems. Raises OSError only."""
    return fast_readback.inspect(path) or _inspect_closely(path)


def _inspect_closely(path: Path) -> Inspection:
    """Read a file element by element."""
    reader = Reader()
    parser = reader.parser()
    line_feeds = line_ends = 0
    last = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                if not last and chunk.startswith(b"\xef\xbb\xbf"):
                    reader.problem("encoding", "file", "It starts with a byte order mark; remove it.")
                line_feeds += chunk.count(b"\n")
                line_ends += chunk.count(b"\r\n") + (last == b"\r" and chunk.startswith(b"\n"))
                last = chunk[-1:]
                parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        message = f"It is not well-formed XML ({error}); write it again."
        reader.problem("xml", f"line {error.lineno}", message)
    except DoctypeError:
        pass
    if line_feeds != line_ends:
        reader.problem("line ends", "file", f"{line_feeds - line_ends} lines end without CR; use CRLF.")
    return reader.finished()
