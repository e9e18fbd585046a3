"""Layouts with the brand of the deployment."""

from __future__ import annotations

from dataclasses import replace

from export_pipeline.core.brand import Brand
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Layout
from export_pipeline.logo import read_logo
from export_pipeline.settings import Settings, load_settings


def lay_out(data: ExportData) -> Layout:
    """Return the layout of an export, and of a bundle's members, with the brand that the settings name.

    Raises:
        SettingsError: A setting is invalid.
    """
    brand = _brand(load_settings())
    layout: Layout = data.shape.layout(data)
    members = {name: replace(member, brand=brand) for name, member in layout.members.items()}
    return replace(layout, brand=brand, members=members)


def _brand(settings: Settings) -> Brand:
    lines = tuple(line.strip() for line in settings.pdf_address.split("|") if line.strip())
    logo = read_logo(settings.pdf_logo) if settings.pdf_logo else b""
    return Brand(logo, settings.pdf_color, lines, settings.pdf_footer)
