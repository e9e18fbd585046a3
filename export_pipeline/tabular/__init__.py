"""Table exports: what may be asked of one, what is computed of its rows, and how it is laid out."""

from export_pipeline.tabular.build import build
from export_pipeline.tabular.layout import layout
from export_pipeline.tabular.options import options

__all__ = ["build", "layout", "options"]
