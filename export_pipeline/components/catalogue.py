"""The datasets of this project, as its `defs/` folder declares them."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg

from export_pipeline.components.shaped_export import ShapedExport

_PROJECT = Path(__file__).parents[1]


def component_tree() -> dg.ComponentTree:
    """The components of `defs/`, not built yet."""
    return dg.ComponentTree.for_project(_PROJECT)


def definitions_of(tree: dg.ComponentTree) -> dg.Definitions:
    """What the components of `defs/` become, and nothing else.

    `dg.load_from_defs_folder` would also import every installed package that offers components, only to
    describe them in the UI: seconds in each process that runs an export.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(
            tree.build_defs(tree.defs_module_path), dg.Definitions(component_tree=tree)
        )


def datasets() -> dict[str, ShapedExport]:
    """The datasets by name, in alphabetical order."""
    found = component_tree().get_all_components(of_type=ShapedExport)
    return {component.dataset: component for component in sorted(found, key=lambda one: one.dataset)}
