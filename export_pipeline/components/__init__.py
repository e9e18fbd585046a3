"""Components: the schema of defs.yaml, and the assets, schedules, sensors and checks built from it."""

from export_pipeline.components.bundle_export import BundleExport
from export_pipeline.components.shaped_export import ShapedExport
from export_pipeline.components.table_export import TableExport

__all__ = ["BundleExport", "ShapedExport", "TableExport"]
