"""Imported by the process from which the workers of small exports are forked, so that they begin warm.

A format imports its writer and reader when they are first used, which would take up to 0.3 s in each worker.
"""

import export_pipeline.api.inline_export
import export_pipeline.formats.csv.readback
import export_pipeline.formats.csv.write
import export_pipeline.formats.excel.readback
import export_pipeline.formats.excel.write
import export_pipeline.formats.json.readback
import export_pipeline.formats.json.write
import export_pipeline.formats.parquet.readback
import export_pipeline.formats.parquet.write
import export_pipeline.formats.pdf.readback
import export_pipeline.formats.pdf.write  # noqa: F401
