"""Construction takeoff: a project's conditions and their measurements on drawings, with costs."""

from export_pipeline.takeoff.build import build
from export_pipeline.takeoff.description import describe
from export_pipeline.takeoff.layout import layout
from export_pipeline.takeoff.options import options

__all__ = ["build", "describe", "layout", "options"]
