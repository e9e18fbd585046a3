"""The first page's head: logo and address, title, facts and charts."""

from __future__ import annotations

from datetime import UTC

from export_pipeline.core.layout import Layout
from export_pipeline.formats.pdf import style
from export_pipeline.formats.pdf.images import embed_image
from export_pipeline.formats.pdf.pages import Pages, ascent_of, leading_of
from export_pipeline.formats.pdf.style import MARGIN, UNIT

_LOGO_HEIGHT, _LOGO_WIDTH = 44 * UNIT, 200 * UNIT
_LOGO_PIXELS = 1_200


def print_first_page(pages: Pages, layout: Layout) -> None:
    """Print what comes before the first chapter."""
    _print_letterhead(pages, layout)
    pages.bookmark(layout.title)
    title = pages.element(b"H1")
    pages.paragraph(layout.title, "Title", style.TITLE, pages.theme.heading, bold=True, element=title)
    pages.y -= UNIT * 4
    pages.rectangle(0, pages.y - UNIT * 2, 54 * UNIT, 2 * UNIT, pages.theme.accent)
    pages.y -= UNIT * 12
    if layout.headline is not None:
        label, value = layout.headline
        pages.paragraph(label, "Headline", style.BODY, style.MUTED)
        pages.paragraph(value, "Headline", style.TITLE, style.INK, bold=True)
        pages.y -= UNIT * 8
    _print_facts(pages, layout)
    if layout.description:
        pages.y -= UNIT * 6
        pages.paragraph(layout.description, "Description")
    pages.y -= UNIT * 4
    if layout.charts:
        from reportlab import rl_config

        # It is read at import: to check each attribute that is set takes a third of the time of a chart.
        rl_config.shapeChecking = 0
        from export_pipeline.formats.pdf.charts import print_charts

        pages.y -= UNIT * 8
        print_charts(pages, layout.charts)


def _print_letterhead(pages: Pages, layout: Layout) -> None:
    """Print the logo at the left, as decoration, and the address at the right."""
    brand = layout.brand
    top, height = pages.y, 0
    if brand.logo:
        image = embed_image(pages.pdf, brand.logo, _LOGO_PIXELS)
        scale = min(_LOGO_HEIGHT / image.height, _LOGO_WIDTH / image.width)
        wide, height = round(image.width * scale), round(image.height * scale)
        name = pages.add_image(image)
        place = b"q %d 0 0 %d %d %d cm /%b Do Q\n" % (wide, height, MARGIN, top - height, name)
        pages.draw(pages.marked(place))
    leading = leading_of(style.SMALL)
    for number, text in enumerate(brand.address):
        lines = pages.typesetter.lines(text, style.SMALL, pages.width // 2, "Address")[:1]
        baseline = top - ascent_of(style.SMALL) - number * leading
        element = pages.element(b"P")
        pages.print(lines, 0, baseline, style.SMALL, style.MUTED, flush=pages.width, element=element)
    height = max(height, len(brand.address) * leading)
    if height:
        pages.y -= height + 18 * UNIT


def _print_facts(pages: Pages, layout: Layout) -> None:
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
