"""Exports an application's database to files. Dagster runs the exports."""

from __future__ import annotations

import atexit
import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export_pipeline.components import BundleExport, ShapedExport, TableExport

__all__ = ["BundleExport", "ShapedExport", "TableExport"]

# Loaded modules stay in memory. Garbage collections of them during startup and at exit took a third of the
# time in which a command or a code server starts and ends.
gc.set_threshold(10_000, 10, 10)
atexit.register(gc.freeze)


def __getattr__(name: str) -> Any:
    # Used by `type: export_pipeline.TableExport` in a defs.yaml; imported late, as it loads Dagster.
    if name in __all__:
        from export_pipeline import components

        return getattr(components, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
