"""References to the rows of a template's table: they end where the new rows do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from export_pipeline.formats.excel.names import column_letters
from export_pipeline.formats.excel.xml import column_number

_LAST_ROW, _LAST_COLUMN = 1_048_576, 16_383
_CELL = r"\$?[A-Z]{1,3}\$?[0-9]{1,7}"
_TOKEN = re.compile(
    r'"(?:[^"]|"")*"'  # a text
    r"|\[(?:[^\[\]]|\[[^\[\]]*\])*\]"  # columns of a table
    r"|(?P<sheet>(?<!')'(?:[^']|'')++'!|(?<![\w.'])[\w.]++!)?"
    rf"(?P<range>(?<![\w.$]){_CELL}(?::{_CELL})?|(?<![\w.$])\$?[0-9]{{1,7}}:\$?[0-9]{{1,7}})(?![\w.(!\[])"
    r"|(?<!')'(?:[^']|'')++'"  # a sheet before something else
)
_TEXT = re.compile(r'"((?:[^"]|"")*)"')
_INDIRECT = re.compile(r"(?<![\w.])INDIRECT\(")
_R1C1 = re.compile(r"(?<![A-Za-z0-9_])R([0-9]{1,7})C([0-9]{1,5})(?![A-Za-z0-9_])")
_OFFSET = re.compile(
    r"(?<![\w.])OFFSET\(\s*(?P<sheet>'(?:[^']|'')+'!|[\w.]+!)?"
    rf"(?P<range>{_CELL}(?::{_CELL})?)\s*,\s*(?P<rows>-?[0-9]{{1,7}})\s*,\s*(?P<columns>-?[0-9]{{1,5}})?"
    r"\s*(?:,\s*(?P<height>[0-9]{1,7})?\s*)?(?:,\s*(?P<width>[0-9]{1,5})?\s*)?\)"
)
_PARTS = re.compile(r"(\$?)([A-Z]{0,3})(\$?)([0-9]{1,7})")


class TemplateError(ValueError):
    """Raised for a template that cannot be kept as it is. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Area:
    """The cells of a table's rows.

    Attributes:
        sheet: Name of the sheet.
        first, last: First and last row of the sample.
        left, right: First and last column, counted from 0.
        end: Last row of the new rows.
    """

    sheet: str
    first: int
    last: int
    left: int
    right: int
    end: int

    def follow(self, first: int, last: int, left: int, right: int, what: str) -> int:
        """Return the new last row of cells that may include the table's.

        Raises:
            TemplateError: They include only some of its rows.
        """
        if last < self.first or first > self.last or right < self.left or left > self.right:
            return last
        if first > self.first or last < self.last:
            cells = f"{column_letters(left)}{first}:{column_letters(right)}{last}"
            raise TemplateError(
                f"{what} refers to {cells} of {self.sheet!r}, only some of the rows of the table "
                f"({self.first} to {self.last}), so nobody knows which of the new rows; refer to all of them"
            )
        return self.end if last == self.last else max(last, self.end)

    def follow_ranges(self, ranges: str, what: str) -> str:
        """Return ranges of the table's sheet (`A2:B9 D2:D9`) with their new ends."""
        return " ".join(self._range(one, what) for one in ranges.split())

    def follow_formula(
        self, formula: str, here: str, what: str, *, single: bool = True, moves: bool = False
    ) -> str:
        """Return a formula whose references to the table's rows end where the new rows do.

        Args:
            formula: Without `=`.
            here: Name of the sheet on which it stands; references without a sheet mean this one.
            what: Name of the place, for errors.
            single: True if a reference to one cell may mean all rows where the sample has only one.
            moves: True if the formula is that of a rule for many cells, so that rows without `$` are relative
                to the cell.

        Raises:
            TemplateError: A reference is to only some of the rows, or to several sheets at once.
        """

        self._check_computed(formula, here, what, moves=moves)

        def followed(match: re.Match[str]) -> str:
            prefix, cells = match["sheet"], match["range"]
            if cells is None:
                return match[0]
            sheet = _sheet_name(prefix) if prefix else here
            if ":" in sheet or (prefix and formula[: match.start()].endswith(":")):
                raise TemplateError(f"{what} refers to several sheets at once ({match[0]}); refer to one")
            if sheet.casefold() != self.sheet.casefold():
                return match[0]
            if moves and _is_relative(cells):
                return match[0]
            made = self._range(cells, what)
            if made != cells and ":" not in cells and not single:
                raise TemplateError(
                    f"{what} refers to the only row of the table ({match[0]}): that may mean the first or "
                    "all; give the sample two rows"
                )
            return (prefix or "") + made

        return _TOKEN.sub(followed, formula)

    def _check_computed(self, formula: str, here: str, what: str, *, moves: bool) -> None:
        """Raise TemplateError if INDIRECT or OFFSET lead to the rows by texts or numbers."""
        reason = "which cannot follow; refer to the table by name (Orders[Amount])"
        if _INDIRECT.search(formula):
            for text in _TEXT.findall(formula):
                cells = _R1C1.sub(lambda match: f"{column_letters(int(match[2]) - 1)}{match[1]}", text)
                for match in _TOKEN.finditer(cells):
                    if match["range"] and self._meets(match["sheet"], match["range"], here):
                        raise TemplateError(f'{what} names rows of the table as a text ("{text}"), {reason}')
        for match in _OFFSET.finditer(formula):
            if moves and _is_relative(match["range"]):
                continue
            first, last, start, stop = parse_area(match["range"])
            top, left = first + int(match["rows"]), start + int(match["columns"] or 0)
            bottom = top + int(match["height"] or last - first + 1) - 1
            right = left + int(match["width"] or stop - start + 1) - 1
            cells = f"{column_letters(max(left, 0))}{top}:{column_letters(max(right, 0))}{bottom}"
            if top > 0 and self._meets(match["sheet"], cells, here):
                raise TemplateError(f"{what} counts the rows of the table ({match[0]}), {reason}")

    def _meets(self, prefix: str | None, cells: str, here: str) -> bool:
        """Return whether a reference is to rows of the table that would not stay the same rows."""
        if (_sheet_name(prefix) if prefix else here).casefold() != self.sheet.casefold():
            return False
        try:
            return self._range(cells, "") != cells
        except TemplateError:
            return True

    def has_relative(self, formula: str, here: str) -> bool:
        """Return whether a reference to the table's sheet moves with the cell that it stands in."""
        for match in _TOKEN.finditer(formula):
            sheet = _sheet_name(match["sheet"]) if match["sheet"] else here
            if match["range"] and sheet.casefold() == self.sheet.casefold() and _is_relative(match["range"]):
                return True
        return False

    def _range(self, cells: str, what: str) -> str:
        start, _, stop = cells.partition(":")
        first, last = _PARTS.fullmatch(start), _PARTS.fullmatch(stop or start)
        if first is None or last is None:  # whole columns
            return cells
        rows = int(first[4]), int(last[4])
        columns = (column_number(first[2]), column_number(last[2])) if first[2] else (0, _LAST_COLUMN)
        end = self.follow(*rows, *columns, what)
        if end == rows[1]:
            return cells
        # Without letters the sign of a row is taken for that of a column.
        row_sign = last[3] if last[2] else last[1]
        column = f"{last[1]}{last[2]}" if last[2] else ""
        made = f"{column}{row_sign}{end}"
        return start if made == start and not stop else f"{start}:{made}"


def _is_relative(cells: str) -> bool:
    """Return whether a row of a reference has no `$`."""
    parts = [_PARTS.fullmatch(part) for part in cells.split(":")]
    return any(part is not None and not (part[3] if part[2] else part[1]) for part in parts)


def _sheet_name(prefix: str) -> str:
    name = prefix.removesuffix("!")
    return name[1:-1].replace("''", "'") if name.startswith("'") else name


def parse_area(cells: str) -> tuple[int, int, int, int]:
    """Return first row, last row, first and last column (counted from 0) of `A1:C5` or `A1`.

    Raises:
        TemplateError: It is another kind of reference.
    """
    start, _, stop = cells.replace("$", "").partition(":")
    first, last = _PARTS.fullmatch(start), _PARTS.fullmatch(stop or start)
    if first is None or last is None:
        raise TemplateError(f"{cells} is not a range of cells")
    return int(first[4]), int(last[4]), column_number(first[2]), column_number(last[2])
