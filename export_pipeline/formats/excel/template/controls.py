"""Form controls and linked pictures of a template: they refer to cells in places that cannot follow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from export_pipeline.formats.excel.template.package import Package, in_namespaces
from export_pipeline.formats.excel.template.references import Area, TemplateError

_CONTROL = ("fmlaRange", "fmlaLink", "fmlaTxbx", "fmlaGroup")
_IN_SHEET = ("listFillRange", "linkedCell")
_IN_DRAWING = re.compile(rb"<(?:\w+:)?Fmla(?:Range|Link|Txbx|Group|Pict)>([^<]*)<")


def check_controls(package: Package, part: str, sheet: str, area: Area) -> None:
    """Check that no list, box or picture of a sheet refers to the table's rows.

    Args:
        package: The parts.
        part: Part of the sheet.
        sheet: Its name.
        area: The table's rows.

    Raises:
        TemplateError: One does.
    """
    what = f"a form control or linked picture of the sheet {sheet!r}"
    for formula in _formulas(package, part):
        if area.follow_formula(formula, sheet, what) != formula:
            raise TemplateError(
                f"{what} refers to the rows of the table ({formula}) and cannot follow; give the cells a "
                "name (Formulas > Define Name) and refer to that"
            )


def _formulas(package: Package, part: str) -> Iterator[str]:
    for _, control in package.related(part, "ctrlProp"):
        yield from (value for name in _CONTROL if (value := package.xml(control).get(name)))
    for element in in_namespaces(package.xml(part), "controlPr"):
        yield from (value for name in _IN_SHEET if (value := element.get(name)))
    # Drawings of the old kind are often not well-formed.
    for _, drawing in package.related(part, "vmlDrawing"):
        for match in _IN_DRAWING.finditer(package.content(drawing)):
            yield unescape(match[1].decode(errors="replace"))
    for _, drawing in package.related(part, "drawing"):
        for camera in in_namespaces(package.xml(drawing), "cameraTool"):
            yield camera.get("cellRange", "")
