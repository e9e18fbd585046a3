"""Table exports: the options of a request, computed columns, and the layout."""

from export_pipeline.tabular.build import add_computed, build
from export_pipeline.tabular.description import describe
from export_pipeline.tabular.layout import layout
from export_pipeline.tabular.options import options

__all__ = ["add_computed", "build", "describe", "layout", "options"]
