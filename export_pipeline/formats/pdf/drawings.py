"""Drawings: one page each, with shapes to scale in a frame, a scale bar and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.core.layout import MAX_PICTURE_BYTES, Drawing, ReadPicture
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.arrays import integers, join
from export_pipeline.formats.pdf.images import embed_image
from export_pipeline.formats.pdf.outline import Bookmark
from export_pipeline.formats.pdf.pages import Pages, ascent_of, leading_of
from export_pipeline.formats.pdf.style import MARGIN, UNIT
from export_pipeline.formats.pdf.typeset import Line

_LEGEND_COLUMN = 170 * UNIT
_LEGEND_ROW = 13 * UNIT
_LEGEND_LINES = 12
_SWATCH = 8 * UNIT
_BAR = 18 * UNIT
"""Height reserved for the scale bar."""
_POINT = 5
"""Diameter of a point's dot, in points, if the shape names no line width."""
_LONGEST_BAR = 150 * UNIT
_PICTURE_PIXELS = 2_400
"""Most pixels of a picture across, and most bytes of its file."""
_MAX_NAMED = 50
"""Most pictures that cannot be printed and are named one by one."""
_MAX_LABELS = 150
"""Most shapes of a drawing that are labelled; more labels would hide it."""


class DrawingPrinter:
    """Prints drawings after the last chapter; each page takes the orientation of its drawing."""

    def __init__(self, pages: Pages, paper: tuple[float, float]) -> None:
        self._pages = pages
        self._paper = paper
        self._unprinted: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """A sentence for each picture that is not printed; for many, one says how many more."""
        more = len(self._unprinted) - _MAX_NAMED
        return self._unprinted[:_MAX_NAMED] + (
            [f"{more:,} more pictures cannot be printed."] if more > 0 else []
        )

    def print(self, drawings: Sequence[Drawing]) -> None:
        """Print all drawings and their outline entries."""
        chapter: Bookmark | None = None
        for drawing in drawings:
            bounds, undrawn = _survey(drawing)
            wide = bounds[2] - bounds[0] > bounds[3] - bounds[1]
            self._pages.start((self._paper[1], self._paper[0]) if wide else self._paper)
            if chapter is None:
                chapter = self._pages.bookmark("Drawings")
            self._pages.bookmark(drawing.title, chapter)
            self._drawing(drawing, bounds, undrawn)

    def _drawing(self, drawing: Drawing, bounds: tuple[float, float, float, float], undrawn: int) -> None:
        pages = self._pages
        heading = pages.element(b"H2")
        pages.paragraph(
            drawing.title, "Drawing", style.CHAPTER, pages.theme.heading, bold=True, element=heading
        )
        lines = list(drawing.lines)
        if undrawn:
            lines.append(f"{undrawn:,} of {drawing.shapes.rows:,} shapes cannot be drawn.")
        for text in lines:
            pages.paragraph(text, "Drawing", style.BODY, style.MUTED)
        pages.y -= UNIT * 6
        bar = _BAR if drawing.units_per_foot else 0
        legend, long_entries = self._entries(drawing)
        columns = max(1, pages.width // _LEGEND_COLUMN)
        legend_height = _legend_height(legend, columns)
        height = max(pages.room - min(legend_height, pages.room // 4) - bar, pages.room // 2)
        left, top, right, bottom = bounds
        scale = min(pages.width / (right - left), height / (bottom - top))
        wide, high = round((right - left) * scale), round((bottom - top) * scale)
        x = MARGIN + (pages.width - wide) // 2
        with pages.figure(_describe(drawing), (x, pages.y - high, wide, high)):
            self._shapes(drawing, (left, top), scale, (x, pages.y, wide, high))
        pages.y -= high
        if drawing.units_per_foot:
            self._scale_bar(drawing.units_per_foot * scale, x - MARGIN)
        self._legend(legend, columns)
        for label, color in long_entries:
            pages.need(_LEGEND_ROW)
            self._swatch(0, color)
            pages.paragraph(label, "Legend", style.SMALL, x=_SWATCH * 3 // 2)

    def _entries(self, drawing: Drawing) -> tuple[list[tuple[list[Line], str]], list[tuple[str, str]]]:
        """Return the legend's entries: those that fit its columns, and those too long for a column."""
        short, long = [], []
        for label, color in drawing.legend:
            width = _LEGEND_COLUMN - 3 * _SWATCH
            lines = self._pages.typesetter.lines(label, style.SMALL, width, "Legend")
            if len(lines) <= _LEGEND_LINES:
                short.append((lines, color))
            else:
                long.append((label, color))
        return short, long

    def _swatch(self, x: int, color: str) -> None:
        fill = b"%.3f %.3f %.3f rg" % style.color(color)
        self._pages.rectangle(x, self._pages.y - _SWATCH - UNIT, _SWATCH, _SWATCH, fill)

    def _shapes(
        self, drawing: Drawing, origin: tuple[float, float], scale: float, frame: tuple[int, int, int, int]
    ) -> None:
        """Draw the frame, and in it the shapes in order."""
        x, y, wide, high = frame
        pages = self._pages
        paint = b"%b %b %d w" % (style.PAPER, style.RULE, UNIT // 2)
        pages.draw(b"%b %d %d %d %d re B\n" % (paint, x, y - high, wide, high))
        if drawing.image is not None:
            self._picture(drawing, drawing.image, origin, scale, (x, y))
        pages.draw(b"q 1 J 1 j\n")
        for batch in drawing.shapes.open():
            pages.draw(_drawn(batch, origin, scale, (x, y)))
        pages.draw(b"Q\n")
        if "label" in drawing.shapes.schema and drawing.shapes.rows <= _MAX_LABELS:
            self._labels(drawing, origin, scale, (x, y))

    def _picture(
        self,
        drawing: Drawing,
        picture: Path | ReadPicture,
        origin: tuple[float, float],
        scale: float,
        corner: tuple[int, int],
    ) -> None:
        """Print the picture of the plane, paler than the shapes on it."""
        pages = self._pages
        try:
            data = _read_file(picture) if isinstance(picture, Path) else picture()
            image = embed_image(pages.pdf, data, _PICTURE_PIXELS)
        except (OSError, ValueError, SyntaxError) as error:
            self._unprinted.append(f"The picture of {drawing.title} cannot be printed: {error}.")
            return
        wide, high = round(drawing.width * scale), round(drawing.height * scale)
        left, low = corner[0] - round(origin[0] * scale), corner[1] + round(origin[1] * scale) - high
        place = (wide, high, left, low, pages.add_image(image))
        pages.draw(b"q %d 0 0 %d %d %d cm /%b Do Q\n" % place)
        pages.draw(b"q /A45 gs 1 1 1 rg %d %d %d %d re f Q\n" % (left, low, wide, high))

    def _labels(
        self, drawing: Drawing, origin: tuple[float, float], scale: float, corner: tuple[int, int]
    ) -> None:
        """Print the label of each shape in its middle, or beside the first segment of a line."""
        pages = self._pages
        for batch in drawing.shapes.open():
            begins, points = _points(batch)
            for index, (kind, label) in enumerate(
                zip(_values(batch, "kind"), _values(batch, "label"), strict=True)
            ):
                if kind == "none" or begins[index] == begins[index + 1]:
                    continue
                own = points[begins[index] : begins[index + 1]]
                middle = own[:2].mean(axis=0) if kind in ("line", "polyline") else own.mean(axis=0)
                across, down = (middle - origin) * scale
                lines = pages.typesetter.lines(label or "", style.SMALL, _LEGEND_COLUMN, "Drawing")[:1]
                x, y = corner[0] + round(across) - MARGIN, corner[1] - round(down)
                pages.draw(pages.text(lines, x + 2 * UNIT, y - 2 * UNIT, style.SMALL))

    def _scale_bar(self, foot: float, x: int) -> None:
        """Draw a bar of a round number of feet; `foot` is the length of a foot in page units."""
        pages = self._pages
        feet = _round_length(_LONGEST_BAR / foot)
        length = round(feet * foot)
        top = pages.y - 6 * UNIT
        height = 4 * UNIT
        for quarter in range(4):
            begin, end = length * quarter // 4, length * (quarter + 1) // 4
            fill = style.INK if quarter % 2 == 0 else style.WHITE
            pages.rectangle(x + begin, top - height, end - begin, height, fill)
        outline = (UNIT // 2, MARGIN + x, top - height, length, height)
        pages.draw(pages.marked(b"%b %d w %d %d %d %d re S\n" % (style.INK.upper(), *outline)))
        label = f"{feet * 12:g} in" if feet < 1 else f"{feet:,g} ft"
        text = pages.typesetter.lines(label, style.SMALL, pages.width)
        element = pages.element(b"P")
        pages.print(text, x + length + 5 * UNIT, top - height, style.SMALL, style.MUTED, element=element)
        pages.y -= _BAR

    def _legend(self, entries: Sequence[tuple[list[Line], str]], columns: int) -> None:
        """Print swatches and labels in columns, row by row, on further pages if needed."""
        pages = self._pages
        pages.y -= 6 * UNIT
        for start in range(0, len(entries), columns):
            row = entries[start : start + columns]
            height = _row_height(row)
            if pages.need(height):
                again = pages.typesetter.lines("Legend (continued)", style.SMALL, pages.width)
                pages.print(again, 0, pages.y - ascent_of(style.SMALL), style.SMALL, style.MUTED)
                pages.y -= leading_of(style.SMALL) + 4 * UNIT
            for place, (lines, color) in enumerate(row):
                x = place * (pages.width // columns)
                self._swatch(x, color)
                baseline = pages.y - ascent_of(style.SMALL)
                leading = leading_of(style.SMALL)
                element = pages.element(b"P")
                at = x + _SWATCH * 3 // 2
                pages.print(lines, at, baseline, style.SMALL, leading=leading, element=element)
            pages.y -= height


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_PICTURE_BYTES:
        raise ValueError(f"it has more than {MAX_PICTURE_BYTES:,} bytes")
    return path.read_bytes()


def _describe(drawing: Drawing) -> str:
    """Return the text for those who cannot see a drawing."""
    shown = ", ".join(label for label, _ in drawing.legend[:_LEGEND_LINES])
    more = len(drawing.legend) - _LEGEND_LINES
    return f"{drawing.title}: {drawing.shapes.rows:,} shapes of {shown}" + (
        f" and {more:,} more" if more > 0 else ""
    )


def _row_height(row: Sequence[tuple[list[Line], str]]) -> int:
    most = max(len(lines) for lines, _ in row)
    return _LEGEND_ROW + (most - 1) * leading_of(style.SMALL)


def _legend_height(entries: Sequence[tuple[list[Line], str]], columns: int) -> int:
    rows = [_row_height(entries[i : i + columns]) for i in range(0, len(entries), columns)]
    return sum(rows) + 8 * UNIT


def _round_length(most: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that does not exceed `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * 1.0001))


def _survey(drawing: Drawing) -> tuple[tuple[float, float, float, float], int]:
    """Return the plane, widened to hold every shape: left, top, right, bottom, never empty; and the number of
    shapes that cannot be drawn.
    """
    undrawn = 0
    box = [0.0, 0.0, _finite(drawing.width), _finite(drawing.height)]
    for batch in drawing.shapes.open():
        undrawn += pc.sum(pc.equal(batch["kind"], "none")).as_py() or 0
        _, points = _points(batch)
        if points.size:
            low, high = points.min(axis=0), points.max(axis=0)
            box = [min(box[0], low[0]), min(box[1], low[1]), max(box[2], high[0]), max(box[3], high[1])]
    left, top, right, bottom = map(float, box)
    return (left, top, max(right, left + 1.0), max(bottom, top + 1.0)), undrawn


def _finite(length: float) -> float:
    return length if np.isfinite(length) and length > 0 else 0.0


def _points(batch: pa.RecordBatch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where each shape's points begin, and all points; shapes (n + 1,) and (points, 2). A point
    with a non-finite coordinate is dropped, and so is a last coordinate without a partner.
    """
    lists = batch.column(batch.schema.get_field_index("points"))
    lists = pc.fill_null(lists, pa.scalar([], lists.type)) if lists.null_count else lists
    sizes = np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False)).astype(np.int64)
    flat = np.asarray(pc.cast(lists.flatten(), pa.float64()).to_numpy(zero_copy_only=False))
    owner = np.repeat(np.arange(sizes.size), sizes)
    starts = np.cumsum(sizes) - sizes
    place = np.arange(flat.size) - starts[owner]
    paired = place < (sizes // 2 * 2)[owner]
    pairs = flat[paired].reshape(-1, 2)
    of_pair = owner[paired][::2]
    sound = np.isfinite(pairs).all(axis=1)
    counts = np.bincount(of_pair[sound], minlength=sizes.size)
    begins = np.zeros(sizes.size + 1, np.int64)
    np.cumsum(counts, out=begins[1:])
    return begins, pairs[sound]


def _drawn(
    batch: pa.RecordBatch, origin: tuple[float, float], scale: float, corner: tuple[int, int]
) -> bytes:
    """Return the content that draws a batch of shapes."""
    begins, points = _points(batch)
    heads = begins[:-1]
    drawable = np.array([kind != "none" for kind in _values(batch, "kind")], bool)
    kept = np.flatnonzero((np.diff(begins) > 0) & drawable)
    if not kept.size:
        return b""
    x = np.rint((points[:, 0] - origin[0]) * scale + corner[0]).astype(np.int64)
    y = np.rint(corner[1] - (points[:, 1] - origin[1]) * scale).astype(np.int64)
    operator = np.ones(x.size, np.int64)
    operator[heads[kept]] = 0
    moves = pa.array([" m ", " l "], pa.string()).take(integers(operator))
    texts = join(_text(x), " ", _text(y), moves)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[np.append(heads[kept], x.size)]
    paths = pa.Array.from_buffers(pa.string(), kept.size, [None, pa.py_buffer(ends), data])
    holes = _hole_paths(batch, kept, origin, scale, corner)
    before, after = _strokes(batch, kept, (begins[1:] - begins[:-1])[kept], x, y, begins, holes)
    joined = join(before, paths, after)
    _, spans, content = joined.buffers()
    drawn: bytes = content.to_pybytes()[: int(np.frombuffer(spans, np.int32)[kept.size])]
    return drawn


def _strokes(
    batch: pa.RecordBatch,
    kept: NDArray[np.int64],
    counts: NDArray[np.int64],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    begins: NDArray[np.int64],
    holes: Mapping[int, str],
) -> tuple[pa.Array, pa.Array]:
    """Return the content before a shape's path (color, opacity, width) and after it (its paint operator)."""
    strokes = batch.take(integers(kept))
    kinds = np.array([str(kind) for kind in _values(strokes, "kind")])
    colors = _values(strokes, "color")
    fills = np.clip(np.nan_to_num(_floats(strokes, "fill_opacity")), 0, 1)
    widths = _floats(strokes, "line_width")
    widths = np.where(np.isfinite(widths) & (widths > 0), widths, 1.0)
    dot = (kinds == "point") | (counts == 1)
    closed = (kinds == "polygon") & (counts > 2)
    known: dict[str, str] = {}
    before, after = [], []
    for index in range(kept.size):
        color = known.get(str(colors[index]))
        if color is None:
            rgb = " ".join(f"{share:.3f}" for share in style.color(colors[index]))
            color = known[str(colors[index])] = f"{rgb} RG {rgb} rg"
        width = max(_POINT, 2 * widths[index]) if dot[index] else widths[index]
        level = round(float(fills[index]) * 100)
        before.append(f"{color} /A{level} gs {round(width * UNIT)} w ")
        if dot[index]:
            # A line of zero length with round caps is a dot.
            first = int(begins[kept[index]])
            after.append(f"{x[first]} {y[first]} l S\n")
        else:
            paint = "b\n" if closed[index] and level else "s\n" if closed[index] else "S\n"
            # With the even-odd rule a path inside another is a hole.
            after.append(f"h {holes[index]}{'B*' if level else 'S'}\n" if index in holes else paint)
    return pa.array(before, pa.string()), pa.array(after, pa.string())


def _hole_paths(
    batch: pa.RecordBatch,
    kept: NDArray[np.int64],
    origin: tuple[float, float],
    scale: float,
    corner: tuple[int, int],
) -> dict[int, str]:
    """Return the paths of the holes of those kept shapes that have some."""
    place = batch.schema.get_field_index("holes")
    if place < 0 or not pc.any(pc.greater(pc.list_value_length(batch.column(place)), 0)).as_py():
        return {}
    paths = {}
    for index, rings in enumerate(batch.column(place).take(integers(kept)).to_pylist()):
        path = ""
        for ring in rings or ():
            points = (np.array(ring).reshape(-1, 2) - origin) * (scale, -scale) + corner
            corners = [f"{round(x)} {round(y)}" for x, y in points.tolist()]
            path += f"{corners[0]} m {' '.join(f'{each} l' for each in corners[1:])} h "
        if path:
            paths[index] = path
    return paths


def _values(batch: pa.RecordBatch, name: str) -> list[str | None]:
    return [scalar.as_py() for scalar in batch.column(batch.schema.get_field_index(name))]


def _floats(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    column = pc.cast(batch.column(batch.schema.get_field_index(name)), pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def _text(values: NDArray[np.int64]) -> pa.Array:
    return pc.cast(integers(values), pa.string())
