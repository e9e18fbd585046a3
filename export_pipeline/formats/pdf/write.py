"""Render a layout as a PDF document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.columns import Measure, arrange, measure
from export_pipeline.formats.pdf.drawings import DrawingPrinter
from export_pipeline.formats.pdf.embed import embed
from export_pipeline.formats.pdf.objects import PdfFile, date_string, text_string
from export_pipeline.formats.pdf.options import PdfOptions
from export_pipeline.formats.pdf.pages import Pages, ascent_of, leading_of
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
    pages = Pages(pdf, typesetter, sizes[0], layout.footer, structure)
    pages.start()
    _title_block(pages, layout)
    anchors = _anchors(pdf, layout)
    rows = 0
    warnings: list[str] = []
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
        DrawingPrinter(pages, paper).print(layout.drawings)
    pages.finish()
    outline = pages.outline()
    _resources(pdf, typesetter)
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
    """Return whether the document is tagged: if asked for, or by default if it has few cells."""
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


def _title_block(pages: Pages, layout: Layout) -> None:
    pages.bookmark(layout.title)
    pages.paragraph(layout.title, "Title", style.TITLE, style.ACCENT, bold=True, element=pages.element(b"H1"))
    pages.y -= UNIT * 4
    pages.rectangle(0, pages.y - UNIT * 2, 54 * UNIT, 2 * UNIT, style.ACCENT)
    pages.y -= UNIT * 12
    if layout.headline is not None:
        label, value = layout.headline
        pages.paragraph(label, "Headline", style.BODY, style.MUTED)
        pages.paragraph(value, "Headline", style.TITLE, style.INK, bold=True)
        pages.y -= UNIT * 8
    facts = [*layout.facts]
    when = f"{layout.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if not any(label == "Data as of" for label, _ in facts):
        facts.append(("Data as of", when))
    widest = max(pages.typesetter.width(label, style.BODY, bold=True) for label, _ in facts)
    column = min(widest + 12 * UNIT, pages.width // 3)
    leading = leading_of(style.BODY)
    for label, value in facts:
        labels = pages.typesetter.lines(label, style.BODY, column - 6 * UNIT, "Facts", bold=True)
        pages.need(leading * len(labels))
        page, top = pages.pdf.pages, pages.y
        fact = pages.element(b"P")
        baseline = top - ascent_of(style.BODY)
        pages.print(labels, 0, baseline, style.BODY, style.MUTED, True, leading, element=fact)
        pages.paragraph(value, "Facts", x=column, element=fact)
        if page == pages.pdf.pages:
            pages.y = min(pages.y, top - leading * len(labels))
        pages.y -= UNIT
    if layout.description:
        pages.y -= UNIT * 6
        pages.paragraph(layout.description, "Description")
    pages.y -= UNIT * 4


def _resources(pdf: PdfFile, typesetter: Typesetter) -> None:
    fonts = []
    for font in (typesetter.regular, typesetter.bold):
        number = pdf.reserve()
        embed(pdf, font, number)
        fonts.append(b"/%b %d 0 R" % (font.resource.encode(), number))
    levels = b"".join(b"/A%d<</ca %.2f>>" % (level, level / 100) for level in range(101))
    pdf.put(b"<</Font<<%b>>/ExtGState<<%b>>>>" % (b"".join(fonts), levels), pdf.resources)
