"""Layouts with the deployment's branding and the application's pictures of plan pages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from export_pipeline.core.brand import Brand
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Drawing, Layout
from export_pipeline.logo import read_logo
from export_pipeline.settings import Settings, load_settings
from export_pipeline.store.s3_pictures import S3Pictures


def lay_out(data: ExportData) -> Layout:
    """Return the layout of an export, and of a bundle's members, with the brand and the pictures that the
    settings name.

    Raises:
        SettingsError: A setting is invalid.
    """
    settings = load_settings()
    brand = _brand(settings)
    layout: Layout = data.shape.layout(data)
    members = {name: replace(member, brand=brand) for name, member in layout.members.items()}
    drawings = tuple(_with_pictures(layout.drawings, settings))
    missing = sum(bool(drawing.image_key) and drawing.image is None for drawing in drawings)
    notes = layout.notes
    if missing and settings.page_images:
        notes = (*notes, f"{missing:,} of {len(drawings):,} drawings have no picture in EXPORT_PAGE_IMAGES.")
    return replace(layout, brand=brand, members=members, drawings=drawings, notes=notes)


def _with_pictures(drawings: Iterable[Drawing], settings: Settings) -> Iterator[Drawing]:
    place = settings.page_images
    if isinstance(place, str):
        checksums = settings.s3_checksums == "required"
        pictures = S3Pictures(place, settings.s3_endpoint_url, settings.s3_region, checksums=checksums)
        for drawing in drawings:
            image = pictures.find(drawing.image_key) if drawing.image_key else None
            yield replace(drawing, image=image) if image else drawing
    else:
        yield from (_with_picture(drawing, place) for drawing in drawings)


def _with_picture(drawing: Drawing, folder: Path | None) -> Drawing:
    """Return the drawing with its picture, if the folder has it; a key never leads out of the folder.

    A key can be any text of the application, so one that names no readable file is a missing picture.
    """
    if folder is None or not drawing.image_key:
        return drawing
    try:
        path = (folder / drawing.image_key.lstrip("/")).resolve()
        is_there = path.is_relative_to(folder.resolve()) and path.is_file() and os.access(path, os.R_OK)
    except (OSError, ValueError, RuntimeError):  # too long, not encodable, not allowed, a loop of links
        is_there = False
    return replace(drawing, image=path) if is_there else drawing


def _brand(settings: Settings) -> Brand:
    lines = tuple(line.strip() for line in settings.pdf_address.split("|") if line.strip())
    logo = read_logo(settings.pdf_logo) if settings.pdf_logo else b""
    return Brand(logo, settings.pdf_color, lines, settings.pdf_footer)
