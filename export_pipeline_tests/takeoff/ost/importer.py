"""An importer of On-Screen Takeoff XML, written from the rules of the format and from nothing else.

It knows no code of the project. `load` refuses a file as an importer would, with an AssertionError.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lxml import etree


def _row(name: str, attributes: dict[str, str], content: str = "") -> str:
    parts = "".join(f'<xs:attribute name="{k}" type="{v}" use="required"/>' for k, v in attributes.items())
    return (
        f'<xs:element name="{name}" minOccurs="0" maxOccurs="unbounded"><xs:complexType>'
        f'<xs:sequence>{content}</xs:sequence>{parts}<xs:anyAttribute processContents="skip"/>'
        "</xs:complexType></xs:element>"
    )


def _list(name: str, content: str = "") -> str:
    inside = f"<xs:complexType><xs:sequence>{content}</xs:sequence></xs:complexType>"
    return f'<xs:element name="{name}">{inside}</xs:element>'


def _lists(*names: str) -> str:
    return "".join(_list(name) for name in names)


_TAKEOFF = {
    **dict.fromkeys(("UID", "BidUID", "BidConditionUID", "BidPageUID"), "xs:positiveInteger"),
    "ParentUID": "xs:nonNegativeInteger",
    "No": "xs:positiveInteger",
    "Position": "position",
    "Curve": "straight",
    "IsNegativeQuantity": "flag",
}
_PAGE = {
    **dict.fromkeys(("UID", "BidUID", "Index1", "Sequence"), "xs:positiveInteger"),
    "BidPageFolderUID": "xs:nonNegativeInteger",
    **dict.fromkeys(("ScaleFactor1", "ScaleFactor2", "Width", "Height"), "above"),
    "Name": "name",
    "SheetNo": "xs:string",
    **dict.fromkeys(("FlipX", "FlipY"), "flag"),
}
_CONDITION = {
    **dict.fromkeys(("UID", "BidUID", "BidLayerUID", "CdnTypeUID", "RefNo"), "xs:positiveInteger"),
    "Name": "name",
    "Type": "type",
    **dict.fromkeys(("ColorLine", "ColorFill"), "color"),
    **dict.fromkeys(("Quantity1", "UOM1"), "xs:nonNegativeInteger"),
    **dict.fromkeys(("Width", "Height", "Depth", "Thickness"), "xs:decimal"),
}
_TOTAL = {
    **dict.fromkeys(("UID", "BidConditionUID"), "xs:positiveInteger"),
    **dict.fromkeys(("Quantity1", "Quantity2", "Quantity3"), "xs:decimal"),
}
_LAYER = {"UID": "xs:positiveInteger", "BidUID": "xs:positiveInteger", "Name": "name", "Show": "flag"}
_NAMED = {"UID": "xs:positiveInteger", "Name": "name"}
_BID = {
    "UID": "xs:positiveInteger",
    "JobName": "name",
    **dict.fromkeys(("CreateDateTime", "ModDateTime"), "moment"),
}
SCHEMA = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
<xs:simpleType name="name"><xs:restriction base="xs:string"><xs:pattern value="[\\s\\S]*\\S[\\s\\S]*"/></xs:restriction></xs:simpleType>
<xs:simpleType name="flag"><xs:restriction base="xs:string"><xs:enumeration value="0"/><xs:enumeration value="1"/></xs:restriction></xs:simpleType>
<xs:simpleType name="straight"><xs:restriction base="xs:string"><xs:enumeration value="-1"/></xs:restriction></xs:simpleType>
<xs:simpleType name="type"><xs:restriction base="xs:integer"><xs:minInclusive value="0"/><xs:maxInclusive value="2"/></xs:restriction></xs:simpleType>
<xs:simpleType name="color"><xs:restriction base="xs:integer"><xs:minInclusive value="0"/><xs:maxInclusive value="16777215"/></xs:restriction></xs:simpleType>
<xs:simpleType name="above"><xs:restriction base="xs:decimal"><xs:minExclusive value="0"/></xs:restriction></xs:simpleType>
<xs:simpleType name="moment"><xs:restriction base="xs:string"><xs:pattern value="([0-9]+( [0-9]+){{5}})?"/></xs:restriction></xs:simpleType>
<xs:simpleType name="position"><xs:restriction base="xs:string">
  <xs:pattern value="-?[0-9]+(\\.[0-9]+)?(;-?[0-9]+(\\.[0-9]+)?)+\\n"/></xs:restriction></xs:simpleType>
<xs:element name="XML_ROOT"><xs:complexType><xs:sequence>
<xs:element name="OST"><xs:complexType><xs:attribute name="Version" fixed="3.2.0" use="required"/></xs:complexType></xs:element>
<xs:element name="Bid"><xs:complexType><xs:sequence>
{_lists("BidPlanRooms")}{_list("BidAreas", _list("BidAreas"))}{_list("BidTypAreas", _list("BidTypAreas"))}
{_lists("BidConditionFolders")}{_list("BidPageFolders", _row("BidPageFolder", _NAMED))}
{_list("BidSettings", _row("BidSetting", {"UID": "xs:positiveInteger"}))}{_list("BidLayers", _row("BidLayer", _LAYER))}
{_list("BidTypAreaCounts", _list("BidTypAreaCounts"))}
{_list("BidConditions", _row("BidCondition", _CONDITION, _list("BidAreaConditions", _row("BidAreaCondition", _TOTAL))))}
{_lists("UserMasterConditions", "BidConditionUser", "BidZones", "BidTypGroupViews", "OCRProps")}
{_list("BidPages", _row("BidPage", _PAGE, _list("BidTakeoffs", _row("BidTakeoff", _TAKEOFF)) + _lists("BidHighlights", "BidTexts", "BidDimensions", "BidArrows", "BidALines", "BidCallOuts", "BidAnnotationRects", "BidAnnotationOvals", "BidAnnotationPolygons", "BidAnnotationClouds", "BidAnnoInk", "BidLegends", "BidPageSettings", "BidAreaTranslations", "BidMarkedPages", "BidComments")))}
{_lists("BidNamedViews", "BidHotLinks")}
</xs:sequence>{"".join(f'<xs:attribute name="{k}" type="{v}" use="required"/>' for k, v in _BID.items())}<xs:anyAttribute processContents="skip"/></xs:complexType></xs:element>
{_lists("Employees", "AccessLevels")}{_list("CdnTypes", _row("CdnType", _NAMED))}{_list("JobStatuses", _row("JobStatuse", _NAMED))}
</xs:sequence></xs:complexType></xs:element></xs:schema>"""


UNITS = {
    (0, 1): {2: 12.0, 1: 1.0, 3: 36.0, 11: 0.1 / 2.54, 13: 100 / 2.54},
    (1, 11): {5: 144.0, 4: 1.0, 6: 1296.0, 12: (0.1 / 2.54) ** 2, 14: (100 / 2.54) ** 2},
    (1, 21): {9: 46656.0, 8: 1728.0, 15: (0.1 / 2.54) ** 3, 16: (100 / 2.54) ** 3},
    (2, 23): {0: 1.0},
}
"""Inches in one unit, by Type and Quantity1, and by UOM1."""


@dataclass
class Takeoff:
    """A takeoff: its measurement's number and its points in real inches and in inches on the sheet."""

    no: int
    real: np.ndarray
    paper: np.ndarray
    guid: str = ""


@dataclass
class Imported:
    """A condition as the importer's user sees it: quantity in its unit, and takeoffs by page name."""

    name: str
    row: dict[str, str]
    total: float
    quantity: float = 0.0
    takeoffs: dict[str, list[Takeoff]] = field(default_factory=dict)


@dataclass
class Job:
    """A whole file."""

    bid: dict[str, str]
    conditions: list[Imported]
    pages: list[dict[str, str]]
    cdn_types: dict[str, str]
    folders: dict[str, str]


def load(path: Path) -> Job:
    """Import a file, or fail with the rule it breaks."""
    raw = path.read_bytes()
    assert raw.startswith(b"<XML_ROOT>\r\n")
    assert raw.endswith(b"</XML_ROOT>\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert b"></" not in raw  # empty elements are self-closed
    assert b"\t" not in raw
    raw.decode("utf-8")
    root = etree.fromstring(raw, etree.XMLParser(huge_tree=True))
    schema = etree.XMLSchema(etree.fromstring(SCHEMA))
    assert schema.validate(root), schema.error_log.last_error
    assert not [element.tag for element in root.iter() if (element.text or "").strip()]

    rows = [element for element in root.iter() if element.get("UID")]
    uids = [int(element.get("UID")) for element in rows]
    assert len(set(uids)) == len(uids)
    assert max(uids) < 2**31
    tables: dict[str, set[str]] = {}
    for element in rows:
        tables.setdefault(element.tag, set()).add(element.get("UID"))
    for element in rows:
        for key, tag in (
            ("BidUID", "Bid"),
            ("BidLayerUID", "BidLayer"),
            ("CdnTypeUID", "CdnType"),
            ("BidConditionUID", "BidCondition"),
            ("BidPageUID", "BidPage"),
            ("BidPageFolderUID", "BidPageFolder"),
            ("BidPageSelectedUID", "BidPage"),
            ("JobStatusUID", "JobStatuse"),
            ("EstimatorUID", "Employee"),
            ("BidZoneUID", "BidZone"),
            ("BidAreaUID", "BidArea"),
            ("AreaUID", "BidArea"),
            ("ParentUID", element.tag),
        ):
            value = element.get(key, "0")
            assert value == "0" or value in tables[tag], (element.tag, element.get("UID"), key, value)
    for tag, key, sign in (
        ("BidLayer", "Sequence", 1),
        ("BidPage", "Sequence", 1),
        ("BidCondition", "UID", 1),
        ("BidPageFolder", "UID", -1),
    ):
        order = [sign * int(element.get(key)) for element in root.iter(tag)]
        assert order == sorted(set(order)), tag
    layers = [layer.get("Name") for layer in root.iter("BidLayer")]
    assert layers == ["Image", "Annotation", "Default", "Comments"]
    return _job(root)


def _job(root: etree._Element) -> Job:
    conditions: dict[str, Imported] = {}
    for element in root.iter("BidCondition"):
        totals = element.findall("BidAreaConditions/BidAreaCondition")
        assert [total.get("BidConditionUID") for total in totals] == [element.get("UID")]
        key = tuple(int(element.get(name)) for name in ("Type", "Quantity1", "UOM1"))
        assert key[:2] in {(0, 1), (1, 11), (1, 21), (2, 23)}, key
        assert key[2] in UNITS[key[:2]], key
        total = float(totals[0].get("Quantity1"))
        conditions[element.get("UID")] = Imported(element.get("Name"), dict(element.attrib), total)
    for page in root.iter("BidPage"):
        ratio = float(page.get("ScaleFactor1")) / float(page.get("ScaleFactor2"))
        takeoffs = page.findall("BidTakeoffs/BidTakeoff")
        by_uid = {takeoff.get("UID"): takeoff for takeoff in takeoffs}
        descending = [int(takeoff.get("UID")) for takeoff in takeoffs]
        assert descending == sorted(descending, reverse=True)
        for element in takeoffs:
            assert element.get("BidPageUID") == page.get("UID")
            condition = conditions[element.get("BidConditionUID")]
            points = np.array(element.get("Position").split(";"), float).reshape(-1, 2)
            kind = condition.row["Type"]
            sign, parent = 1 - 2 * int(element.get("IsNegativeQuantity")), element.get("ParentUID")
            size = UNITS[int(kind), int(condition.row["Quantity1"])][int(condition.row["UOM1"])]
            if parent != "0":  # a backout has the sign of the area that it is in
                assert kind == "1"
                assert by_uid[parent].get("BidConditionUID") == element.get("BidConditionUID")
                sign = 2 * int(by_uid[parent].get("IsNegativeQuantity")) - 1
            if kind == "0":
                assert len(points) == 2
                condition.quantity += sign * float(np.hypot(*(points[1] - points[0]))) / size
            elif kind == "1":
                assert len(points) >= 3
                assert tuple(points[0]) != tuple(points[-1])
                moved = points - points[0]
                ring = np.roll(moved, -1, axis=0)
                area = abs(float(np.sum(moved[:, 0] * ring[:, 1] - ring[:, 0] * moved[:, 1]))) / 2
                depth = float(condition.row["Thickness"]) if condition.row["Quantity1"] == "21" else 1.0
                condition.quantity += sign * area * depth / size
            else:
                assert len(points) == 1
                condition.quantity += sign
            takeoff = Takeoff(int(element.get("No")), points, points * ratio, element.get("GUID"))
            condition.takeoffs.setdefault(page.get("Name"), []).append(takeoff)
    return Job(
        dict(root.find("Bid").attrib),
        list(conditions.values()),
        [dict(page.attrib) for page in root.iter("BidPage")],
        {each.get("UID"): each.get("Name") for each in root.iter("CdnType")},
        {each.get("UID"): each.get("Name") for each in root.iter("BidPageFolder")},
    )
