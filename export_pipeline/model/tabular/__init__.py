"""Table exports: what may be asked of one, what is computed of its rows, and how it is laid out."""

from export_pipeline.model.tabular.build import build
from export_pipeline.model.tabular.layout import layout
from export_pipeline.model.tabular.options import options

__all__ = ["build", "layout", "options"]
