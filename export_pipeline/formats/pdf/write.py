"""Render a layout as a PDF document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.columns import Measure, arrange, measure
from export_pipeline.formats.pdf.drawings import DrawingPrinter
from export_pipeline.formats.pdf.embed import embed
from export_pipeline.formats.pdf.first_page import print_first_page
from export_pipeline.formats.pdf.objects import PdfFile, date_string, text_string
from export_pipeline.formats.pdf.options import PdfOptions
from export_pipeline.formats.pdf.pages import Pages
from export_pipeline.formats.pdf.sections import SectionPrinter
from export_pipeline.formats.pdf.structure import MAX_CELLS, Structure, write_metadata
from export_pipeline.formats.pdf.style import MARGIN, UNIT
from export_pipeline.formats.pdf.typeset import Typesetter


def render(layout: Layout, out: BinaryIO, options: PdfOptions) -> Rendered:
    """Write a layout's title, chapters and drawings as a PDF.

    Raises:
        RenderError: A section's group sizes do not add up to its rows.
    """
    paper, orientation = style.PAPERS[options.page_size], options.orientation
    title = options.title or layout.title
    own_title, layout = layout.title, replace(layout, title=title)
    typesetter = Typesetter()
    sections = layout.chapters
    measures = [measure(section, typesetter) for section in sections]
    sizes = [_page_size(widths, paper, orientation) for widths in measures] or [
        _page_size([], paper, orientation)
    ]
    pdf = PdfFile(out)
    structure = Structure() if _is_tagged(layout, options) else None
    theme = style.Theme.of(layout.brand.color)
    pages = Pages(pdf, typesetter, sizes[0], (layout.footer, layout.brand.footer), structure, theme)
    pages.start()
    print_first_page(pages, layout)
    anchors = _anchors(pdf, layout)
    rows = 0
    warnings = [*layout.notes]
    for section, widths, size in zip(sections, measures, sizes, strict=False):
        if size != pages.size:
            pages.start(size=size)
        target = section.links[1] if section.links else None
        strips = arrange(widths, pages.width)
        if len(strips) > 1:
            warnings.append(
                f"{section.title}: {len(widths)} columns do not fit one page and go across {len(strips)}."
            )
        printer = SectionPrinter(
            pages,
            section,
            strips,
            anchors[section.key][0] if section.key in anchors else None,
            anchors.get(target) if target is not None else None,
            title if (section.heading or section.title) == own_title else None,
        )
        printed = printer.print()
        if section.counts:
            rows += printed
    if layout.drawings:
        drawer = DrawingPrinter(pages, paper)
        drawer.print(layout.drawings)
        warnings += drawer.warnings
    pages.finish()
    outline = pages.outline.write(pdf)
    _resources(pages)
    tags = b""
    if structure is not None:
        tags = structure.write(pdf) + write_metadata(pdf, title, layout.author, layout.created)
    pdf.finish(
        b"/Lang(en)/ViewerPreferences<</DisplayDocTitle true>>%b%b" % (outline, tags),
        b"/Title%b/Author%b/Creator(export_pipeline)/Producer(export_pipeline)/CreationDate%b/ModDate%b"
        % (
            text_string(title),
            text_string(layout.author),
            date_string(layout.created),
            date_string(layout.created),
        ),
    )
    return Rendered(rows=rows, changed=typesetter.changed, warnings=warnings)


def _is_tagged(layout: Layout, options: PdfOptions) -> bool:
    """Return whether the document is tagged: if requested, or by default if it has few cells."""
    if options.tagged is not None:
        return options.tagged
    return sum(section.table.rows * len(section.table.columns) for section in layout.chapters) <= MAX_CELLS


def _page_size(
    measures: Sequence[Measure], paper: tuple[float, float], orientation: str
) -> tuple[float, float]:
    """Return the page size for a table: landscape if requested, or if its columns need the width."""
    width = round(paper[0] * UNIT) - 2 * MARGIN
    needed = sum(measure.least for measure in measures) > width
    return (paper[1], paper[0]) if orientation == "landscape" or (orientation == "auto" and needed) else paper


def _anchors(pdf: PdfFile, layout: Layout) -> dict[str, tuple[int, list[str]]]:
    """Reserve the destination objects of sections that others link to; by key: the first, and the titles."""
    linked = {section.links[1] for section in layout.chapters if section.links}
    return {
        section.key: (pdf.reserve(len(section.groups)), [group.title for group in section.groups])
        for section in layout.chapters
        if section.key in linked and section.groups
    }


def _resources(pages: Pages) -> None:
    pdf, fonts = pages.pdf, []
    for font in (pages.typesetter.regular, pages.typesetter.bold):
        fonts += [b"/%b %d 0 R" % (name.encode(), number) for name, number in embed(pdf, font).items()]
    levels = b"".join(b"/A%d<</ca %.2f>>" % (level, level / 100) for level in range(101))
    images = b"".join(b"/%b %d 0 R" % (name, image.number) for name, image in pages.images.items())
    pdf.put(
        b"<</Font<<%b>>/ExtGState<<%b>>/XObject<<%b>>>>" % (b"".join(fonts), levels, images), pdf.resources
    )
