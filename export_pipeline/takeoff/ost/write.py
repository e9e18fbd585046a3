"""On-Screen Takeoff XML: the project as one bid, with its conditions, pages and takeoffs.

The file has no XML declaration; it is UTF-8 with CRLF line ends, every value is an attribute, and each UID
occurs once in the file. Lengths are in inches of the real world, pages in inches of paper.

How a project becomes a bid:

- linear -> Type 0, a straight segment per takeoff; the outline of a polygon, rectangle or circle.
- area -> Type 1, a polygon per takeoff; volume -> Type 1, area times Thickness (the depth). A hole is a
  takeoff of its own, a backout, whose ParentUID is the polygon's.
- count -> Type 2, a place per takeoff; a measurement that counts n has n takeoffs in one place.
- A circle is a polygon of 96 corners with the circle's area, or its perimeter in a linear condition; an arc
  is straight segments of its length.
- A negative quantity has the flag IsNegativeQuantity. Units are those of `units`.
- Geometry that is unreadable, or does not fit its condition, is left out and counted, with a warning.
- A condition's total is the export's total, in the condition's own unit.
- A page without a scale: see `pages.Pages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import Rendered, RenderError
from export_pipeline.takeoff.ost import markup
from export_pipeline.takeoff.ost.conditions import Conditions
from export_pipeline.takeoff.ost.pages import Pages, own_scales
from export_pipeline.takeoff.ost.scales import ScaleFinder
from export_pipeline.takeoff.ost.takeoffs import Takeoffs, max_takeoffs
from export_pipeline.takeoff.ost.tally import Tally

VERSION = "3.2.0"
_LAYERS = ("Image", "Annotation", "Default", "Comments")
_CONDITIONS_LAYER = _LAYERS.index("Default")


def render(layout: Layout, out: BinaryIO) -> Rendered:
    """Write a project from `layout.subject` and the tables conditions, pages and measurements_by_page.

    `Rendered.rows` counts measurements; one that needs several takeoffs counts once.

    Raises:
        RenderError: A table is missing, measurements are not ordered by page, or there are more takeoffs
            than On-Screen Takeoff has UIDs for.
    """
    done = Rendered()
    uids = count(2)
    layers = [next(uids) for _ in _LAYERS]
    status = next(uids)
    conditions = Conditions(_table(layout, "conditions").arrow().to_pylist(), lambda: next(uids), done)
    page_rows = _table(layout, "pages").arrow().to_pylist()
    measurements = _table(layout, "measurements_by_page")
    scales = ScaleFinder(own_scales(page_rows), conditions)
    takeoffs_at_most = 0
    for batch in measurements.open():
        takeoffs_at_most += max_takeoffs(batch)
        scales.add(batch)
    pages = Pages(page_rows, scales.agreed(), lambda: next(uids), done)
    settings = next(uids)
    top = next(uids) + takeoffs_at_most
    if top > markup.LARGEST_INTEGER:
        raise RenderError(
            "There are more takeoffs than On-Screen Takeoff can number; export fewer conditions or pages."
        )

    project = layout.subject
    named_status = (project.get("status") or "").strip() != ""
    out.write((markup.tag("XML_ROOT") + markup.tag("OST", {"Version": VERSION}, empty=True)).encode())
    out.write(markup.tag("Bid", _bid(project, pages, status if named_status else 0)).encode())
    for name in ("BidPlanRooms", "BidAreas", "BidTypAreas", "BidConditionFolders"):
        out.write(_own_container(name).encode())
    out.write(markup.container("BidPageFolders", pages.folders()).encode())
    selected = {"UID": settings, "BidUID": 1, "BidPageSelectedUID": pages.uids[0] if pages.uids else 0}
    out.write(markup.container("BidSettings", [markup.tag("BidSetting", selected, empty=True)]).encode())
    out.write(markup.container("BidLayers", _layers(layers)).encode())
    out.write(_own_container("BidTypAreaCounts").encode())
    _write_conditions(conditions, layers[_CONDITIONS_LAYER], out)
    for name in ("UserMasterConditions", "BidConditionUser", "BidZones", "BidTypGroupViews", "OCRProps"):
        out.write(markup.tag(name, empty=True).encode())
    tally = Tally(conditions)
    takeoffs = Takeoffs(conditions, pages, tally, top)
    _write_pages(pages, takeoffs, measurements, out)
    for name in ("BidNamedViews", "BidHotLinks"):
        out.write(markup.tag(name, empty=True).encode())
    out.write(markup.end("Bid").encode())
    out.write(_siblings(conditions, status, project["status"] if named_status else None).encode())
    out.write(markup.end("XML_ROOT").encode())
    done.rows = takeoffs.written
    tally.report(done)
    return done


def _table(layout: Layout, name: str) -> Table:
    if name not in layout.tables:
        raise RenderError(f"This dataset has no table {name!r}, which On-Screen Takeoff XML is made of.")
    return layout.tables[name]


def _own_container(name: str) -> str:
    """Return an empty container; three of them hold an empty child of their own name."""
    if name in ("BidAreas", "BidTypAreas", "BidTypAreaCounts"):
        return markup.container(name, [markup.tag(name, empty=True)])
    return markup.tag(name, empty=True)


def _bid(project: Mapping[str, Any], pages: Pages, status: int) -> dict[str, markup.Value]:
    factor1, factor2, width, height = pages.first_scale()
    client = project.get("client_name") or ""
    notes = [project.get("description") or "", f"Client: {client}" if client else ""]
    name = project.get("name") or ""
    return {
        "UID": 1,
        "JobStatusUID": status,
        "EstimatorUID": 0,
        "BidNo": 1,
        "JobID": str(project.get("id") or ""),
        "JobName": name if name.strip() else "Untitled",
        "ImageFolder": "",
        "Notes": "\n".join(note for note in notes if note),
        "CreateDateTime": markup.moment(project.get("created_at")),
        "ModDateTime": markup.moment(project.get("updated_at")),
        "MeasureBase": 0,
        "ScaleStyle": 0,
        "ScaleFactor1": factor1,
        "ScaleFactor2": factor2,
        "PageWidth": width,
        "PageHeight": height,
        "GUID": markup.guid(project.get("id")),
    }


def _layers(uids: list[int]) -> list[str]:
    return [
        markup.tag(
            "BidLayer",
            {
                "UID": uid,
                "BidUID": 1,
                "IsTemplate": 0,
                "Name": name,
                "Show": 1,
                "IsLocked": 0,
                "Sequence": sequence,
            },
            empty=True,
        )
        for sequence, (uid, name) in enumerate(zip(uids, _LAYERS, strict=True))
    ]


def _write_conditions(conditions: Conditions, layer: int, out: BinaryIO) -> None:
    if not conditions.uids:
        out.write(markup.tag("BidConditions", empty=True).encode())
        return
    out.write(markup.tag("BidConditions").encode())
    for index in range(len(conditions.uids)):
        out.write(conditions.element(index, layer).encode())
    out.write(markup.end("BidConditions").encode())


def _write_pages(pages: Pages, takeoffs: Takeoffs, measurements: Table, out: BinaryIO) -> None:
    """Write every page in order, with its takeoffs if it has any."""
    out.write(markup.tag("BidPages", empty=not pages.uids).encode())
    current, ahead = -1, 0
    for run in takeoffs.runs(measurements.open()):
        if run.page < current:
            raise RenderError("The measurements are not ordered by page.")
        if run.page > current:
            if current >= 0:
                out.write(pages.closing(takeoffs=True).encode())
            _write_empty_pages(pages, range(ahead, run.page), out)
            out.write(pages.opening(run.page, takeoffs=True).encode())
            current, ahead = run.page, run.page + 1
        out.write(run.xml)
    if current >= 0:
        out.write(pages.closing(takeoffs=True).encode())
    _write_empty_pages(pages, range(ahead, len(pages.uids)), out)
    if pages.uids:
        out.write(markup.end("BidPages").encode())


def _write_empty_pages(pages: Pages, indexes: range, out: BinaryIO) -> None:
    for index in indexes:
        out.write((pages.opening(index, takeoffs=False) + pages.closing(takeoffs=False)).encode())


def _label(status: str) -> str:
    """Return a status in words: "in_progress" is "In progress"."""
    words = status.replace("_", " ")
    return words[:1].upper() + words[1:]


def _siblings(conditions: Conditions, status: int, name: str | None) -> str:
    """Return the lists beside the bid, which other bids of a database would share."""
    types = [
        markup.tag("CdnType", {"UID": uid, "Name": text, "ExpandState": 1}, empty=True)
        for uid, text in conditions.cdn_types
    ]
    # An item's name is its list's name without the last letter, even where that is not English.
    row: dict[str, markup.Value] = {"UID": status, "Locked": 0, "Name": _label(name or ""), "Sequence": 1}
    statuses = [markup.tag("JobStatuse", row, empty=True)] if name else []
    return (
        markup.tag("Employees", empty=True)
        + markup.tag("AccessLevels", empty=True)
        + markup.container("CdnTypes", types)
        + markup.container("JobStatuses", statuses)
    )
