"""Exports of an application's database as files, run by Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export_pipeline.components import BundleExport, ShapedExport, TableExport

__all__ = ["BundleExport", "ShapedExport", "TableExport"]


def __getattr__(name: str) -> Any:
    # A defs.yaml says `type: export_pipeline.TableExport`; nothing else needs Dagster from here.
    if name in __all__:
        from export_pipeline import components

        return getattr(components, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
