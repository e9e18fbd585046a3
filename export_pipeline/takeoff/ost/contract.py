"""The structure of On-Screen Takeoff XML: lists, references, codes and units, as its importers know them."""

from __future__ import annotations

BID_LISTS = (
    "BidPlanRooms",
    "BidAreas",
    "BidTypAreas",
    "BidConditionFolders",
    "BidPageFolders",
    "BidSettings",
    "BidEmployees",
    "BidLayers",
    "BidTypAreaCounts",
    "BidConditions",
    "UserMasterConditions",
    "BidConditionUser",
    "BidZones",
    "BidTypGroupViews",
    "OCRProps",
    "BidPages",
    "BidNamedViews",
    "BidHotLinks",
)
OPTIONAL_BID_LISTS = frozenset({"BidEmployees"})

PAGE_LISTS = (
    "BidTakeoffs",
    "BidHighlights",
    "BidTexts",
    "BidDimensions",
    "BidArrows",
    "BidALines",
    "BidCallOuts",
    "BidAnnotationRects",
    "BidAnnotationOvals",
    "BidAnnotationPolygons",
    "BidAnnotationClouds",
    "BidAnnoInk",
    "BidLegends",
    "BidPageSettings",
    "BidAreaTranslations",
    "BidMarkedPages",
    "BidComments",
)

SIBLINGS = ("Employees", "PayClasses", "AccessLevels", "CdnTypes", "JobStatuses")
"""Lists beside the bid, in order."""

SELF_NAMED = frozenset({"BidAreas", "BidTypAreas", "BidTypAreaCounts"})
"""Lists that hold an empty child with the list's own name."""

_LISTS = frozenset({*BID_LISTS, *PAGE_LISTS, *SIBLINGS, "BidAreaConditions"})
KNOWN = _LISTS | {name.removesuffix("s") for name in _LISTS} | {"OST", "Bid", "JobStatus"}
"""Names that an importer reads, each in its place; it skips any other name, and these elsewhere."""

NEEDED = {
    "Bid": ("UID", "JobName"),
    "BidLayers": ("UID", "BidUID", "Name", "Show", "Sequence"),
    "BidConditions": (
        "UID",
        "BidUID",
        "BidLayerUID",
        "CdnTypeUID",
        "RefNo",
        "Name",
        "Type",
        "ColorFill",
        "UOM1",
        "Quantity1",
    ),
    "BidAreaConditions": ("UID", "BidConditionUID", "Quantity1", "Quantity2", "Quantity3"),
    "BidPages": (
        "UID",
        "BidUID",
        "Name",
        "SheetNo",
        "ScaleFactor1",
        "ScaleFactor2",
        "Width",
        "Height",
        "Index1",
        "Sequence",
    ),
    "BidTakeoffs": ("UID", "BidUID", "BidConditionUID", "BidPageUID", "ParentUID", "Position", "Curve"),
    "CdnTypes": ("UID", "Name"),
    "JobStatuses": ("UID", "Name"),
}

REFERENCES = {
    "BidUID": "Bid",
    "BidConditionFolderUID": "BidConditionFolders",
    "BidPageFolderUID": "BidPageFolders",
    "BidLayerUID": "BidLayers",
    "CdnTypeUID": "CdnTypes",
    "BidConditionUID": "BidConditions",
    "BidPageUID": "BidPages",
    "BidPageSelectedUID": "BidPages",
    "MasterPageUID": "BidPages",
    "BidZoneUID": "BidZones",
    "BidAreaUID": "BidAreas",
    "AreaUID": "BidAreas",
    "MasterAreaUID": "BidAreas",
    "TranslateAreaUID": "BidAreas",
    "BidTypAreaUID": "BidTypAreas",
    "TypAreaUID": "BidTypAreas",
    "BidPageViewUID": "BidNamedViews",
    "BidTakeoffFromUID": "BidTakeoffs",
    "BidTakeoffToUID": "BidTakeoffs",
    "TypGroupTakeoffUID": "BidTakeoffs",
    "TypPageTakeoffUID": "BidTakeoffs",
    "TypGroupMarkerUID": "BidTakeoffs",
    "ParentCommentUID": "BidComments",
    "JobStatusUID": "JobStatuses",
    "EstimatorUID": "Employees",
    "EmployeeUID": "Employees",
    "PayClassUID": "PayClasses",
    "AccessLevelUID": "AccessLevels",
}
"""The list in which an attribute's value must be a UID. ParentUID refers to a row of its own list."""

ORDERED = {
    "BidAreas": ("Sequence", -1),
    "BidLayers": ("Sequence", 1),
    "BidPages": ("Sequence", 1),
    "BidConditions": ("UID", 1),
    "BidNamedViews": ("UID", -1),
    "BidHotLinks": ("UID", -1),
} | dict.fromkeys(PAGE_LISTS[: PAGE_LISTS.index("BidPageSettings")], ("UID", -1))
"""The attribute by which a list's rows are ordered: 1 for ascending, -1 for descending."""

FLAGS = frozenset(
    {
        "FlipX",
        "FlipY",
        "IsLocked",
        "IsTemplate",
        "IsNegativeQuantity",
        "RoundQuantity",
        "ShowTakeoff",
        "Locked",
    }
)
COLORS = frozenset({"Color", "ColorLine", "ColorFill", "FontColor"})
POSITIVE = frozenset({"ScaleFactor1", "ScaleFactor2", "Width", "Height", "PageWidth", "PageHeight"})
"""Attributes of the bid and its pages that must be positive."""

LINEAR, AREA, COUNT, ATTACHMENT = range(4)

_COUNTS = frozenset({2, 17, 18, 19, 23})
_LENGTHS = frozenset({1, 13, 14, 15, 16, 24, 33})
_AREAS = frozenset({3, 4, 5, 6, 7, 8, 9, 11, 12, 25, 26, 27, 28, 29, 30, 34})
_VOLUMES = frozenset({20, 21, 22, 35})

_PIECE_RESULTS = frozenset({0, 5, 6, 13, 20, 23, 24, 25, 26, 27, 28, 29, 30})
RESULTS = {
    LINEAR: frozenset(range(10)) | {20},
    AREA: frozenset({0, 11, 12, *range(14, 20), 21, 22, 33, 34, 35}),
    COUNT: _PIECE_RESULTS,
    ATTACHMENT: _PIECE_RESULTS,
}
"""The result codes that Quantity1..3 of a condition may request, by Type."""

UNITS = {
    0: ("EA", 1.0),
    1: ("IN", 1.0),
    2: ("LF", 12.0),
    3: ("LY", 36.0),
    4: ("SQ IN", 1.0),
    5: ("SF", 144.0),
    6: ("SY", 1296.0),
    7: ("ROOF", 14400.0),
    8: ("CF", 1728.0),
    9: ("CY", 46656.0),
    11: ("MM", 1 / 25.4),
    12: ("MM2", 1 / 25.4**2),
    13: ("M", 1e3 / 25.4),
    14: ("M2", 1e6 / 25.4**2),
    15: ("MM3", 1 / 25.4**3),
    16: ("M3", 1e9 / 25.4**3),
}
"""UOM code -> name, and the size of one unit in inches (square or cubic for areas and volumes)."""

_UNITS_OF = (
    (_COUNTS, frozenset({0})),
    (_LENGTHS, frozenset({1, 2, 3, 11, 13})),
    (_AREAS, frozenset({4, 5, 6, 7, 12, 14})),
    (_VOLUMES, frozenset({8, 9, 15, 16})),
)


def units_of(result: int) -> frozenset[int]:
    """Return the UOM codes that a result code may come in; any for 0, which requests no result."""
    for results, units in _UNITS_OF:
        if result in results:
            return units
    return frozenset(UNITS)
