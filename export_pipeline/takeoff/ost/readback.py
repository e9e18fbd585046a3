"""A streaming reader of On-Screen Takeoff XML that checks each element against the import rules."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

import numpy as np
import numpy.typing as npt

from export_pipeline.takeoff.ost import contract
from export_pipeline.takeoff.ost.quantities import NUMBER, Condition, Quantity

MAX_PROBLEMS = 1000
Ints = npt.NDArray[np.int64]

_INTEGER = re.compile(r"-?[0-9]+")
_MOMENT = re.compile(r"[0-9]{1,4}( [0-9]{1,2}){5}")
_TAKEOFF_REFERENCES = ("BidUID", "BidConditionUID", "BidZoneUID", "BidAreaUID", "BidTypAreaUID")
LARGEST_UID = 2**31 - 1
_TWICE = "This UID occurs twice; UIDs are unique in the whole file."


@dataclass(frozen=True, slots=True)
class RuleViolation:
    """A rule that a file breaks.

    Attributes:
        rule: Short name of the rule, e.g. "reference".
        where: The element, e.g. "BidTakeoff UID=12".
        message: Problem and remedy.
    """

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.message}"


@dataclass(slots=True)
class Inspection:
    """The content of a file.

    Attributes:
        measurements: Number of distinct `No` values of its takeoffs.
        quantity: Sum of the first quantities of all conditions' totals, each in its own unit.
        quantities: Quantities by condition UID; NaN for kinds that are not computed here.
        problems: Broken rules, in file order, at most `MAX_PROBLEMS`.
    """

    measurements: int = 0
    quantity: float = 0.0
    quantities: dict[int, Quantity] = field(default_factory=dict)
    problems: list[RuleViolation] = field(default_factory=list)


class DoctypeError(Exception):
    """Raised to stop the parser at a document type, before any of its entities is expanded."""


class Reader:
    """Follows the parser through a file. Its methods are the parser's callbacks."""

    def __init__(self) -> None:
        self._inspection = Inspection()
        self._stack: list[str] = []
        self._places: list[int] = []
        self._uids: dict[str, set[int]] = {}
        self._all_uids: set[int] = set()
        self._takeoff_uids = array("q")
        self._parents = array("q")
        self._numbers = array("q")
        self._pending: list[tuple[str, str, int, str]] = []
        self._conditions: dict[int, Condition] = {}
        self._before: dict[str, int] = {}
        self._page = self._condition = 0
        self._lists: set[str] = set()
        self._resolved: set[tuple[str, ...]] = set()
        self._bids = 0

    def parser(self) -> expat.XMLParserType:
        """Return a parser that calls this reader."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.XmlDeclHandler = self.declaration
        parser.StartDoctypeDeclHandler = self.doctype
        return parser

    def problem(self, rule: str, where: str, message: str) -> None:
        """Record a problem; those after the first MAX_PROBLEMS are dropped."""
        if len(self._inspection.problems) < MAX_PROBLEMS:
            self._inspection.problems.append(RuleViolation(rule, where, message))

    def declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        """Report an XML declaration, which the format does not have."""
        self.problem("declaration", "file", "It has an XML declaration; remove it.")

    def doctype(self, name: str, system: str | None, public: str | None, internal: bool) -> None:
        """Raise DoctypeError: nothing after a document type is read."""
        self.problem("declaration", "file", "It has a document type, which is never read; remove it.")
        raise DoctypeError

    def text(self, data: str) -> None:
        """Check text between elements; only blanks are allowed."""
        if data.strip():
            where = self._stack[-1] if self._stack else "file"
            self.problem("text", where, f"It holds the text {data.strip()[:40]!r}; only attributes are read.")

    def end(self, name: str) -> None:
        """Handle the end of an element; at the end of a page or the bid, all its lists must be present."""
        self._stack.pop()
        self._places.pop()
        if name == "BidPage":
            self._missing_lists("BidPage", f"BidPage UID={self._page}", contract.PAGE_LISTS, frozenset())
        elif name == "Bid" and len(self._stack) == 1:
            self._missing_lists("Bid", "Bid", contract.BID_LISTS, contract.OPTIONAL_BID_LISTS)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element and check it by its place."""
        stack = self._stack
        depth = len(stack)
        if depth == 0:
            if name != "XML_ROOT":
                self.problem("root", name, "The root element must be XML_ROOT.")
        elif depth == 1:
            self._top(name, attributes)
        elif stack[1] == "Bid":
            if depth == 2:
                self._list(name, contract.BID_LISTS, "Bid")
            elif depth == 3:
                self._row(stack[2], name, attributes)
            elif depth == 4 and stack[3] == "BidPage":
                self._list(name, contract.PAGE_LISTS, "BidPage")
            elif depth == 5 and stack[4] == "BidTakeoffs" and name == "BidTakeoff":
                self._takeoff(attributes)
            elif depth == 5:
                self._row(stack[4], name, attributes)
            elif depth != 4 or (stack[3], name) != ("BidCondition", "BidAreaConditions"):
                self._passed_over(name)
        elif depth == 2:
            self._row(stack[1], name, attributes)
        else:
            self._passed_over(name)
        stack.append(name)
        self._places.append(-1)

    def _top(self, name: str, attributes: dict[str, str]) -> None:
        if name == "OST":
            if self._places[0] >= 0:
                self.problem("order", "OST", "OST must be the first child of XML_ROOT.")
            if attributes.get("Version") != "3.2.0":
                self.problem("version", "OST", f"Version is {attributes.get('Version')!r}; it must be 3.2.0.")
            self._places[0] = 0
        elif name == "Bid":
            self._bids += 1
            if self._bids > 1:
                self.problem("bid", "Bid", "There is more than one Bid; a file holds exactly one.")
            if self._places[0] != 0:
                self.problem("order", "Bid", "Bid must follow OST.")
            self._places[0] = 1
            self._row("Bid", name, attributes)
        else:
            place = contract.SIBLINGS.index(name) + 2 if name in contract.SIBLINGS else 0
            if not place:
                self._passed_over(name)
            if place and (place <= self._places[0] or not self._bids):
                self.problem("order", name, f"Beside Bid, the order is {', '.join(contract.SIBLINGS)}.")
            self._places[0] = max(place, self._places[0])

    def _list(self, name: str, order: tuple[str, ...], parent: str) -> None:
        if name not in order:
            self._passed_over(name)
            return
        place = order.index(name)
        if place <= self._places[-1]:
            self.problem(
                "order", name, f"It comes too late in {parent}; it belongs after {order[place - 1]}."
            )
        self._places[-1] = max(place, self._places[-1])
        self._lists.add(f"{parent}/{name}")
        self._before.pop(name, None)

    def _passed_over(self, name: str) -> None:
        """Report an element in the wrong place. Importers skip it there, so data that they would read
        elsewhere would be lost silently.
        """
        if name in contract.KNOWN:
            inside = self._stack[-1]
            self.problem("place", name, f"It stands in {inside}, where no importer reads it; move it.")

    def _missing_lists(
        self, parent: str, where: str, names: tuple[str, ...], optional: frozenset[str]
    ) -> None:
        for name in names:
            if f"{parent}/{name}" not in self._lists and name not in optional:
                self.problem("order", where, f"The list {name} is missing; write it, empty if need be.")
            self._lists.discard(f"{parent}/{name}")

    def _row(self, table: str, name: str, attributes: dict[str, str]) -> None:
        if name == table and table in contract.SELF_NAMED and not attributes:
            return
        where = f"{name} UID={attributes.get('UID', '')}"
        if table != "Bid" and name not in {table, table.removesuffix("s"), table.removesuffix("es")}:
            self._passed_over(name)
            return
        for needed in contract.NEEDED.get(table, ()):
            if needed not in attributes:
                self.problem("attribute", where, f"The attribute {needed} is missing.")
        uid = self._uid(where, attributes)
        if uid in self._all_uids:
            self.problem("uid", where, _TWICE)
        self._all_uids.add(uid)
        self._uids.setdefault(table, set()).add(uid)
        self._check_order(table, where, attributes)
        self._values(table, where, attributes)
        for key, value in attributes.items():
            target = table if key == "ParentUID" else contract.REFERENCES.get(key)
            if target is None or value in ("", "0"):
                continue
            if _INTEGER.fullmatch(value):
                self._pending.append((where, key, int(value), target))
            else:
                self.problem(
                    "reference", where, f"{key} is {value!r}; a reference is an integer, 0 for none."
                )
        if table == "BidConditions":
            self._start_condition(uid, where, attributes)
        elif table == "BidPages":
            self._page = uid
        elif table == "BidAreaConditions":
            self._total(where, attributes)

    def _uid(self, where: str, attributes: Mapping[str, str]) -> int:
        uid = _integer(attributes.get("UID"))
        if uid is None or not 0 < uid <= LARGEST_UID:
            self.problem("uid", where, "A UID is an integer from 1 to 2147483647.")
            return 0
        return uid

    def _check_order(self, table: str, where: str, attributes: Mapping[str, str]) -> None:
        if table not in contract.ORDERED:
            return
        key, direction = contract.ORDERED[table]
        value = _integer(attributes.get(key))
        if value is None:
            self.problem("sequence", where, f"{key} must be an integer.")
            return
        before = self._before.get(table)
        if before is not None and (value - before) * direction <= 0:
            order = "ascending" if direction > 0 else "descending"
            self.problem("sequence", where, f"{key} {value} follows {before}; {table} are {order} by {key}.")
        self._before[table] = value

    def _values(self, table: str, where: str, attributes: Mapping[str, str]) -> None:
        for key, value in attributes.items():
            if key in contract.FLAGS or (key == "Show" and table == "BidLayers"):
                if value not in ("0", "1"):
                    self.problem("flag", where, f"{key} is {value!r}; it must be 0 or 1.")
            elif key in contract.COLORS:
                color = _integer(value)
                if color is None or not 0 <= color <= 0xFFFFFF:
                    message = f"{key} is {value!r}; it must be red + 256 green + 65536 blue."
                    self.problem("color", where, message)
            elif key in contract.POSITIVE and table in ("Bid", "BidPages"):
                if not NUMBER.fullmatch(value) or float(value) <= 0:
                    self.problem("scale", where, f"{key} is {value!r}; it must be a number above 0.")
            elif key in ("CreateDateTime", "ModDateTime"):
                if value and not _MOMENT.fullmatch(value):
                    self.problem(
                        "date", where, f"{key} is {value!r}; write year month day hour minute second."
                    )
            elif key in ("Name", "JobName") and not value.strip():
                self.problem("name", where, f"{key} is empty.")

    def _start_condition(self, uid: int, where: str, attributes: Mapping[str, str]) -> None:
        codes = {key: _integer(attributes.get(key, "0")) for key in ("Type", "RefNo")}
        for number in (1, 2, 3):
            codes |= {
                key: _integer(attributes.get(key, "0")) for key in (f"Quantity{number}", f"UOM{number}")
            }
        for key in [key for key, code in codes.items() if code is None]:
            self.problem("code", where, f"{key} is {attributes.get(key)!r}; it must be an integer.")
            codes[key] = 0
        sort = codes["Type"] or 0
        if sort not in contract.RESULTS:
            self.problem("code", where, f"Type {sort} is not one of 0 linear, 1 area, 2 count, 3 attachment.")
        for number in (1, 2, 3):
            result, unit = codes[f"Quantity{number}"] or 0, codes[f"UOM{number}"] or 0
            if result not in contract.RESULTS.get(sort, frozenset()):
                self.problem(
                    "code", where, f"Quantity{number} {result} is not a result of a Type {sort} condition."
                )
            if unit not in contract.units_of(result):
                self.problem("code", where, f"UOM{number} {unit} is not a unit of result {result}.")
        for key in ("Thickness", "Width", "Depth", "Height"):
            if not NUMBER.fullmatch(attributes.get(key, "0")):
                self.problem("code", where, f"{key} is {attributes[key]!r}; it must be inches.")
        thickness = attributes.get("Thickness", "0")
        self._condition = uid
        self._conditions[uid] = Condition(
            codes["RefNo"] or 0,
            attributes.get("Name", ""),
            sort,
            codes["Quantity1"] or 0,
            codes["UOM1"] or 0,
            float(thickness) if NUMBER.fullmatch(thickness) else 0.0,
        )

    def _total(self, where: str, attributes: Mapping[str, str]) -> None:
        if attributes.get("BidConditionUID") != str(self._condition):
            self.problem("reference", where, "BidConditionUID must be that of the condition around it.")
        for key in ("Quantity1", "Quantity2", "Quantity3"):
            if not NUMBER.fullmatch(attributes.get(key, "")):
                self.problem("number", where, f"{key} is {attributes.get(key)!r}; it must be a plain number.")
            elif key == "Quantity1":
                self._inspection.quantity += float(attributes[key])

    def _takeoff(self, attributes: dict[str, str]) -> None:
        """Check one takeoff. There can be millions, so the required attributes are read directly."""
        where = f"BidTakeoff UID={attributes.get('UID', '')}"
        for needed in contract.NEEDED["BidTakeoffs"]:
            if needed not in attributes:
                self.problem("attribute", where, f"The attribute {needed} is missing.")
        self._takeoff_uids.append(self._uid(where, attributes))
        self._check_order("BidTakeoffs", where, attributes)
        if attributes.get("IsNegativeQuantity", "0") not in ("0", "1"):
            self.problem("flag", where, "IsNegativeQuantity must be 0 or 1.")
        number = _integer(attributes.get("No", "0"))
        if number is None:
            self.problem("number", where, f"No is {attributes['No']!r}; it must be an integer.")
        elif number:
            self._numbers.append(number)
        references = tuple(attributes.get(key, "0") for key in _TAKEOFF_REFERENCES)
        if references not in self._resolved:
            self._resolve(where, references)
        if attributes.get("BidPageUID") != str(self._page):
            self.problem("reference", where, f"BidPageUID must be {self._page}, the page around it.")
        parent = _integer(attributes.get("ParentUID") or "0")
        if parent is None:
            self.problem("reference", where, "ParentUID must be an integer, 0 for none.")
        elif parent:
            self._parents.append(parent)
        curve = attributes.get("Curve")
        if curve not in ("-1", "0"):
            self.problem("curve", where, f"Curve is {curve!r}; it must be -1 for straight or 0 for curved.")
        condition = self._conditions.get(_integer(attributes.get("BidConditionUID")) or 0)
        if condition is not None:
            negative = attributes.get("IsNegativeQuantity") == "1"
            wrong = condition.add(
                attributes.get("Position", ""), curved=curve == "0", hole=bool(parent), negative=negative
            )
            if wrong:
                self.problem("position", where, wrong)

    def _resolve(self, where: str, references: tuple[str, ...]) -> None:
        """Look up a takeoff's references; most takeoffs repeat those of an earlier one."""
        sound = True
        for key, value in zip(_TAKEOFF_REFERENCES, references, strict=True):
            target = contract.REFERENCES[key]
            if value not in ("0", "") and _integer(value) not in self._uids.get(target, ()):
                self.problem("reference", where, f"{key} {value} is not in {target}.")
                sound = False
        if sound:
            self._resolved.add(references)

    def finished(self) -> Inspection:
        """Check what only the whole file shows, and return the result."""
        if not self._bids:
            self.problem("bid", "XML_ROOT", "There is no Bid; importers refuse the file.")
        takeoffs, numbers = (np.sort(np.array(all, np.int64)) for all in (self._takeoff_uids, self._numbers))
        twice = takeoffs[1:][takeoffs[1:] == takeoffs[:-1]]
        others = np.array(sorted(self._all_uids), np.int64)
        for uid in [*np.unique(twice), *others[_among(others, takeoffs)]]:
            self.problem("uid", f"BidTakeoff UID={uid}", _TWICE)
        parents = np.unique(np.array(self._parents, np.int64))
        for uid in parents[~_among(parents, takeoffs)]:
            self.problem("reference", "BidTakeoff", f"ParentUID {uid} is not a takeoff of this file.")
        for where, key, uid, target in self._pending:
            of_takeoffs = target == "BidTakeoffs"
            known = uid in takeoffs if of_takeoffs else uid in self._uids.get(target, ())
            if not known:
                self.problem("reference", where, f"{key} {uid} is not in {target}.")
        self._inspection.measurements = numbers[:1].size + int((np.diff(numbers) != 0).sum())
        self._inspection.quantities = {uid: each.quantity() for uid, each in self._conditions.items()}
        return self._inspection


def _among(values: Ints, known: Ints) -> npt.NDArray[np.bool_]:
    """Return a mask of the wanted numbers that are in `known`, which is sorted."""
    return np.searchsorted(known, values, side="right") > np.searchsorted(known, values)


def _integer(text: str | None) -> int | None:
    if text is None or len(text) > 19 or not _INTEGER.fullmatch(text):
        return None
    return int(text)
