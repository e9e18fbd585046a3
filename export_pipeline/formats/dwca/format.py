"""Darwin Core Archive: occurrences and their pictures, as GBIF and its readers take them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from export_pipeline.core.layout import Layout
from export_pipeline.formats.base import FileFacts, Format, Rendered
from export_pipeline.formats.dwca.options import DwcaOptions
from export_pipeline.formats.dwca.terms import OCCURRENCE


class Dwca(Format[DwcaOptions]):
    """Archives of occurrences. Their columns are those of the export that are named by a Darwin Core term."""

    name = "dwca"
    extension = ".dwca"
    media_type = "application/zip"
    help = "Darwin Core Archive: occurrences and multimedia for GBIF."
    options = DwcaOptions
    is_general = False
    icon = "zip"

    def arrange(self, layout: Layout, options: DwcaOptions) -> Layout:
        """Return the layout with those columns only that an archive has."""
        layout = super().arrange(layout, options)
        kept = [column for column in layout.main.columns if column.name in {*OCCURRENCE, options.media}]
        main = layout.main.select([(column.name, column) for column in kept])
        proof = layout.proof
        if proof is not None:
            totals = {name: total for name, total in proof.totals.items() if name in OCCURRENCE}
            proof = replace(proof, totals=totals)
        return replace(layout, main=main, proof=proof)

    def write(self, layout: Layout, out: BinaryIO, options: DwcaOptions) -> Rendered:
        from export_pipeline.formats.dwca import write

        return write.render(layout, out, options)

    def read_back(self, path: Path, options: DwcaOptions) -> FileFacts:
        from export_pipeline.formats.dwca import readback

        return readback.read_back(path)
