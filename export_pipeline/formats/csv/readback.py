"""Read CSV back without the layout, in a given dialect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.streams import prefetch
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.csv.dialect import Dialect
from export_pipeline.formats.csv.options import CsvOptions
from export_pipeline.formats.sums import add_parts, sum_finite

_BLOCK = 1 << 20
_NUMBER = r"^(-?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity)$"


def read_back(path: Path, options: CsvOptions) -> FileFacts:
    """Count the records and add up the numeric columns, with Arrow's CSV parser.

    Totals are by header; they leave out NaN, infinite and missing cells. A cell is missing if it is empty, or
    if it holds the one string that a column has besides its numbers.
    """
    dialect = Dialect.of(options)
    rows = 0
    sums: dict[str, _Sum] = {}
    try:
        first = next(_records(path, dialect.delimiter))
        headers = {name: first.column(name)[0].as_py() or "" for name in first.schema.names}
        sums = {name: _Sum() for name in headers}
        for name, one in sums.items():
            one.add(first.column(name)[1:])
        # A column whose first cells are not numeric needs no further reading.
        numbers = [name for name, one in sums.items() if one.may_be]
        sums = {name: _Sum() for name in numbers}
        for batch in prefetch(_records(path, dialect.delimiter, numbers or first.schema.names[:1])):
            skipped = 1 if rows == 0 else 0  # the header
            rows += batch.num_rows
            for name, one in sums.items():
                one.add(batch.column(name)[skipped:])
    except pa.ArrowInvalid:  # its message may quote a row
        return FileFacts(max(rows - 1, 0), {}, (f"after row {max(rows - 1, 0):,} it is not valid CSV",))
    totals: dict[str, list[float]] = {}
    for name, one in sums.items():
        if one.is_number:
            totals.setdefault(headers[name], []).extend(one.parts)
    return FileFacts(rows - 1, {header: add_parts(parts) for header, parts in totals.items()})


def _records(path: Path, delimiter: str, only: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """Yield all records, including the header, as strings in columns f0, f1, …; an empty field is null."""
    from pyarrow import csv

    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    reading = csv.ReadOptions(block_size=_BLOCK, autogenerate_column_names=True)
    if only:
        kinds = dict.fromkeys(only, pa.string())
    else:
        with csv.open_csv(path, reading, parsing) as reader:
            kinds = dict.fromkeys(reader.schema.names, pa.string())
    converting = csv.ConvertOptions(
        column_types=kinds, include_columns=list(kinds), null_values=[""], strings_can_be_null=True
    )
    with csv.open_csv(path, reading, parsing, converting) as reader:
        yield from reader


@dataclass(slots=True)
class _Sum:
    """The running sum of a column that may be numeric.

    Attributes:
        parts: Sums of the finite numbers, one per batch.
        may_be: True while the column may be numeric.
        missing: The one string that is not a number, once seen.
        sign: The decimal separator, once seen.
        numbers: How many numbers the column has.
    """

    parts: list[float] = field(default_factory=list)
    may_be: bool = True
    missing: str | None = None
    sign: str | None = None
    numbers: int = 0

    @property
    def is_number(self) -> bool:
        """True if the column holds only numbers and missing cells."""
        return self.may_be and (self.numbers > 0 or self.missing is None)

    def add(self, texts: pa.Array) -> None:
        """Add cells; null is a missing cell."""
        if not self.may_be:
            return
        if self.missing is None and self.sign != ",":
            try:
                self._plus(texts.cast(pa.float64()))
            except pa.ArrowInvalid:
                self._add_with_care(texts)
        else:
            self._add_with_care(texts)

    def _add_with_care(self, texts: pa.Array) -> None:
        texts = texts.drop_null()
        fits = pc.match_substring_regex(texts, _NUMBER)
        others = pc.unique(texts.filter(pc.invert(fits))).to_pylist()
        numbers = texts.filter(fits)
        signs = {sign for sign in ".," if pc.any(pc.match_substring(numbers, sign)).as_py()}
        known = {text for text in (self.missing, *others) if text is not None}
        if self.sign:
            signs.add(self.sign)
        self.may_be = len(known) <= 1 and len(signs) <= 1
        if self.may_be:
            self.missing, self.sign = next(iter(known), None), next(iter(signs), None)
            self._plus(pc.replace_substring(numbers, ",", ".").cast(pa.float64()))

    def _plus(self, numbers: pa.Array) -> None:
        self.numbers += len(numbers) - numbers.null_count
        self.parts.append(sum_finite(numbers))
