"""Load the datasets that the `defs/` folder of this project declares."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType

import dagster as dg
from pydantic import ValidationError
from pydantic_core import ErrorDetails

import export_pipeline
from export_pipeline.components.dataset import DatasetComponent
from export_pipeline.core.messages import describe_error
from export_pipeline.core.strict_model import describe_unknown_name
from export_pipeline.datasets.loading import DefsError
from export_pipeline.datasets.yaml_limits import YamlLimitError, check_size
from export_pipeline.project import defs_folder, own_project


def component_tree() -> dg.ComponentTree:
    """Return the component tree of the datasets' folder, without building it.

    Raises:
        YamlLimitError: a file is too large.
        DefsError: the folder declares no dataset.
    """
    folder = defs_folder()
    if not any(folder.rglob("defs.yaml")) and not any(folder.rglob("*.py")):
        raise DefsError(
            f"There is no dataset in {folder}; write one with `export-pipeline introspect TABLE --write`."
        )
    for file in sorted(folder.rglob("*.yaml")):
        check_size(file)
    # Named here and not imported: the project's folder need not be on Python's path.
    module = ModuleType("export_pipeline.defs" if own_project() is None else "defs")
    module.__file__, module.__path__ = None, [str(folder)]
    sys.modules[module.__name__] = module
    return dg.ComponentTree.from_module(module, folder.parent)


def definitions_of(tree: dg.ComponentTree) -> dg.Definitions:
    """Build the definitions of the components in `defs/`, and nothing else.

    `dg.load_from_defs_folder` would also import every installed package with components, to describe them in
    the UI. That takes seconds in each process that runs an export.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(
            tree.build_defs(tree.defs_module_path), dg.Definitions(component_tree=tree)
        )


def datasets() -> dict[str, DatasetComponent]:
    """Return the datasets by name, in alphabetical order.

    Raises:
        DefsError: a defs.yaml is invalid, or there is none.
    """
    try:
        return datasets_of(component_tree())
    except DefsError:
        raise
    except Exception as error:  # any error while reading them is an error in them
        lines = [f"A defs.yaml is wrong: {line}" for line in _lines(error)]
        raise DefsError("\n".join(lines)) from error


def datasets_of(tree: dg.ComponentTree) -> dict[str, DatasetComponent]:
    """Return the datasets of a tree by name, in alphabetical order.

    Raises:
        DefsError: two datasets have the same name.
    """
    by_name: dict[str, DatasetComponent] = {}
    for component in sorted(tree.get_all_components(of_type=DatasetComponent), key=lambda one: one.dataset):
        if (name := component.dataset) in by_name:
            places = ", ".join(place for place, value in _values_of(r"\s+dataset") if value == name)
            raise DefsError(
                f"A defs.yaml is wrong: two datasets are called {name!r} ({places}); give one another name "
                "in `dataset:`"
            )
        by_name[name] = component
    return by_name


def _lines(error: BaseException) -> list[str]:
    """Return a line for each error that was found: file, line, field and message."""
    if isinstance(error, YamlLimitError):
        return [str(error)]
    causes = [error]
    while deeper := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(deeper)
    # Dagster copies pydantic's error and adds the position in the file, so it is not the innermost error.
    wrong = next((cause for cause in causes if isinstance(cause, ValidationError)), None)
    if wrong is None:
        message = " ".join(str(causes[-1]).split())
        return [_unknown_type(message) or _unfinished() or message]
    return [_line(mistake) for mistake in wrong.errors(include_url=False)]


def _line(mistake: ErrorDetails) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    if place := _PLACE.fullmatch(where):
        where = f"{place['file']}, {place['field']}"
        if mistake["type"] == "extra_forbidden":  # outside `attributes`, where the keys are Dagster's
            return f"{where}: {describe_unknown_name(place['field'], _TOP)}"
    return f"{where}: {describe_error(mistake)}"


def _unfinished() -> str | None:
    """Return a message for a file without a required key, as Dagster reports nothing about it."""
    for file in sorted(defs_folder().rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        for field in _TOP:
            if not re.search(rf"^{field}:", text, re.MULTILINE):
                return f"{file}: no line begins with `{field}:`"
    return None


def _unknown_type(error: str) -> str | None:
    """Return a message with the position of an unknown component type, as Dagster reports no file or line.

    Args:
        error: Message of the error, with a module and a name, or a module, in backticks or quotes.
    """
    type = ".".join(re.findall(r"[`']([^`']+)[`']", error))
    there = [f"{export_pipeline.__name__}.{name}" for name in export_pipeline.__all__]
    for place, value in _values_of("type"):
        if type and f"{value}.".startswith(f"{type}."):
            return f"{place}, type: {describe_unknown_name(value, there)}"
    return None


def _values_of(field: str) -> Iterator[tuple[str, str]]:
    """Yield position and value of each line in the YAML files that begins with this field (a regex)."""
    line = re.compile(rf"{field}:\s*[\"']?([^\s\"'#]+)")
    for file in sorted(defs_folder().rglob("*.yaml")):
        for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if match := line.match(text):
                yield f"{file}:{number}", match[1]


_TOP = ("type", "attributes")
_PLACE = re.compile(r"(?:attributes\.)?(?P<field>.*) at (?P<file>.*:\d+)")
