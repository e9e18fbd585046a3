"""Exports of an application's database as files, run by Dagster."""

from __future__ import annotations

import atexit
import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export_pipeline.components import BundleExport, ShapedExport, TableExport

__all__ = ["BundleExport", "ShapedExport", "TableExport"]

# What a process loads is there to stay. To look through it for garbage again and again while it is loaded,
# and once more at the end, took a third of the time in which a command or a code server starts and ends.
gc.set_threshold(10_000, 10, 10)
atexit.register(gc.freeze)


def __getattr__(name: str) -> Any:
    # A defs.yaml says `type: export_pipeline.TableExport`; nothing else needs Dagster from here.
    if name in __all__:
        from export_pipeline import components

        return getattr(components, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
