"""Pages as BidPage elements, and the real-world positions of their pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from export_pipeline.formats.base import Rendered
from export_pipeline.takeoff.ost import markup
from export_pipeline.takeoff.ost.conditions import CAP
from export_pipeline.takeoff.ost.markup import LARGEST_INTEGER
from export_pipeline.takeoff.ost.scales import Agreed
from export_pipeline.takeoff.scales import pixels_per_foot

_DEFAULT_DPI = 150.0
_INCHES_PER_FOOT = 12.0
_AFTER_TAKEOFFS = (
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
_CLOSE_PAGE = "".join(markup.tag(name, empty=True) for name in _AFTER_TAKEOFFS) + markup.end("BidPage")


class Pages:
    """The pages of one export.

    A page with a scale (pixels per foot) has ScaleFactor1 = paper inches for one real foot and
    ScaleFactor2 = 12, and a pixel is 12 / scale real inches. A page without a scale has the one on which its
    own measurements agree. If they do not, it is written at 1 : 1: a pixel is 1 / dpi inches. Its takeoffs
    are then at the right places of the sheet, but their sizes are paper sizes until someone sets the scale.
    There is a warning for each page without a scale.

    Attributes:
        inches: float64 by page: real inches per pixel.
        scaled: bool by page: True if these inches come from a scale.
        uids: UIDs by page.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        agreed: Mapping[int, Agreed],
        next_uid: Callable[[], int],
        done: Rendered,
    ) -> None:
        """Prepare the pages.

        Args:
            agreed: By index of a page without a scale, the scale of its measurements.
        """
        self._rows = rows
        self._dpi = [_dpi(row) for row in rows]
        self._scales = [
            scale if scale or index not in agreed else agreed[index].scale
            for index, scale in enumerate(own_scales(rows))
        ]
        self.inches: npt.NDArray[np.float64] = np.array(
            [
                _INCHES_PER_FOOT / scale if scale else 1.0 / dpi
                for scale, dpi in zip(self._scales, self._dpi, strict=True)
            ],
            np.float64,
        )
        self.scaled: npt.NDArray[np.bool_] = np.array([scale is not None for scale in self._scales], bool)
        documents = {
            row.get("document_index"): row.get("document_label") or row.get("document") or "" for row in rows
        }
        self._folders = (
            {index: (next_uid(), name) for index, name in documents.items()} if len(documents) > 1 else {}
        )
        self.uids = [next_uid() for _ in rows]
        self._numbers = [self._number(index, done) for index in range(len(rows))]
        self._warn_of_agreed(agreed, done)
        self._warn_of_unscaled(done)

    def first_scale(self) -> tuple[float, float, float, float]:
        """Return ScaleFactor1, ScaleFactor2, Width and Height of the first page, or of a default sheet."""
        return (*self._factors(0), *self._size(0)) if self._rows else (1.0, 1.0, 36.0, 24.0)

    def folders(self) -> list[str]:
        """Return a BidPageFolder for each document if there are several; UIDs descending."""
        return [
            markup.tag(
                "BidPageFolder",
                {
                    "UID": uid,
                    "BidUID": 1,
                    "ParentUID": 0,
                    "Name": name if name.strip() else f"Document {number}",
                    "Description": "",
                    "ExpandState": 1,
                },
                empty=True,
            )
            for number, (uid, name) in reversed(list(enumerate(self._folders.values(), 1)))
        ]

    def opening(self, index: int, *, takeoffs: bool) -> str:
        """Return the page up to and including the start of its takeoffs, or the empty container."""
        row = self._rows[index]
        factor1, factor2 = self._factors(index)
        width, height = self._size(index)
        attributes: dict[str, markup.Value] = {
            "UID": self.uids[index],
            "BidUID": 1,
            "BidPageFolderUID": self._folders.get(row.get("document_index"), (0, ""))[0],
            "Name": _name(row, index),
            "ImagePath": _base_name(row.get("document") or ""),
            "ScaleFactor1": factor1,
            "ScaleFactor2": factor2,
            "Width": width,
            "Height": height,
            "FlipX": 0,
            "FlipY": 0,
            "Rotation": 0,
            "Index1": self._numbers[index],
            "Sequence": index + 1,
            "SheetNo": row.get("sheet_number") or "",
        }
        return markup.tag("BidPage", attributes) + markup.tag("BidTakeoffs", empty=not takeoffs)

    @staticmethod
    def closing(*, takeoffs: bool) -> str:
        """Return the rest of a page after `opening`."""
        return (markup.end("BidTakeoffs") if takeoffs else "") + _CLOSE_PAGE

    def _number(self, index: int, done: Rendered) -> int:
        """Return the page's number in its document, if On-Screen Takeoff can hold it."""
        number = self._rows[index].get("page_number")
        if number is not None and 1 <= number <= LARGEST_INTEGER:
            return int(number)
        done.changed["number out of range, the page's place in the export instead", "Page"] += 1
        return index + 1

    def _factors(self, index: int) -> tuple[float, float]:
        scale = self._scales[index]
        return (scale / self._dpi[index], _INCHES_PER_FOOT) if scale else (1.0, 1.0)

    def _size(self, index: int) -> tuple[float, float]:
        """Return the paper size in inches: the stored size if it fits the pixels, else that of the pixels."""
        row, sizes = self._rows[index], []
        for pixels_of, inches_of, fallback in (
            ("width", "page_width_inches", 36.0),
            ("height", "page_height_inches", 24.0),
        ):
            stored = _positive(row.get(inches_of))
            drawn = (_positive(row.get(pixels_of)) or 0.0) / self._dpi[index]
            fits = stored and (not drawn or math.isclose(stored, drawn, rel_tol=0.01))
            sizes.append(stored if stored and fits else drawn or fallback)
        return sizes[0], sizes[1]

    def _warn_of_agreed(self, agreed: Mapping[int, Agreed], done: Rendered) -> None:
        if agreed:
            done.changed["none, the scale of the page's measurements instead", "Scale"] += len(agreed)
        for index in sorted(agreed)[:CAP]:
            row, of_page = self._rows[index], agreed[index]
            done.warnings.append(
                f"Page {row.get('page_number')} of {row.get('document') or 'its document'} has no scale; the "
                f"file has the {of_page.scale:g} pixels per foot that follow from its quantities "
                f"({of_page.measurements} measurements)."
            )
        if len(agreed) > CAP:
            done.warnings.append(f"{len(agreed) - CAP} more pages have the scale of their quantities.")

    def _warn_of_unscaled(self, done: Rendered) -> None:
        unscaled = [index for index, scale in enumerate(self._scales) if scale is None]
        for index in unscaled[:CAP]:
            row = self._rows[index]
            done.warnings.append(
                f"Page {row.get('page_number')} of {row.get('document') or 'its document'} has no scale; its "
                "takeoffs are at paper size (1 : 1), and an importer will compute other quantities for them."
            )
        if len(unscaled) > CAP:
            done.warnings.append(f"{len(unscaled) - CAP} more pages have no scale.")


def own_scales(rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return pixels per foot by page; None if missing or not a usable ratio."""
    return [_scale(row, _dpi(row)) for row in rows]


def _base_name(path: str) -> str:
    """Return a document's name without folders: importers open the path."""
    return re.split(r"[\\/]", path)[-1]


def _name(row: Mapping[str, Any], index: int) -> str:
    for field in ("title", "sheet_title", "sheet_number"):
        text = row.get(field) or ""
        if text.strip():
            return str(text)
    return f"Page {row.get('page_number') or index + 1}"


def _dpi(row: Mapping[str, Any]) -> float:
    dpi = _positive(row.get("dpi"))
    if dpi is None:
        width, inches = _positive(row.get("width")), _positive(row.get("page_width_inches"))
        dpi = width / inches if width and inches else None
    return dpi or _DEFAULT_DPI


def _scale(row: Mapping[str, Any], dpi: float) -> float | None:
    scale = pixels_per_foot(row)
    return scale if scale is not None and 1e-6 <= scale / dpi <= 1e6 else None


def _positive(value: float | None) -> float | None:
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    return float(value)
