"""The datasets of this project, as its `defs/` folder declares them."""

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
from export_pipeline.components.dataset import Dataset
from export_pipeline.components.yaml_limits import YamlLimitError, check_size
from export_pipeline.core.plain_errors import plain
from export_pipeline.core.strict import unknown_name
from export_pipeline.project import defs_folder, own_project


class DefsError(Exception):
    """A defs.yaml cannot be used. The message has a line for each mistake, with file, line and field."""


def component_tree() -> dg.ComponentTree:
    """Return the components of the datasets' folder, not built yet.

    Raises:
        YamlLimitError: a file is too large to be read.
        DefsError: there is no dataset at all.
    """
    folder = defs_folder()
    if not any(folder.rglob("defs.yaml")) and not any(folder.rglob("*.py")):
        raise DefsError(
            f"There is no dataset in {folder}; write one with `export-pipeline introspect TABLE --write`."
        )
    for file in sorted(folder.rglob("*.yaml")):
        check_size(file)
    # Named here and not imported: the folder of one's own project need not be on Python's path.
    module = ModuleType("export_pipeline.defs" if own_project() is None else "defs")
    module.__file__, module.__path__ = None, [str(folder)]
    sys.modules[module.__name__] = module
    return dg.ComponentTree.from_module(module, folder.parent)


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


def datasets() -> dict[str, Dataset]:
    """The datasets by name, in alphabetical order.

    Raises:
        DefsError: a defs.yaml is wrong, or there is none.
    """
    try:
        return datasets_of(component_tree())
    except DefsError:
        raise
    except Exception as error:  # whatever comes up while reading them, they are what is wrong
        lines = [f"A defs.yaml is wrong: {line}" for line in _lines(error)]
        raise DefsError("\n".join(lines)) from error


def datasets_of(tree: dg.ComponentTree) -> dict[str, Dataset]:
    """The datasets of a tree by name, in alphabetical order.

    Raises:
        DefsError: two have the same name.
    """
    found: dict[str, Dataset] = {}
    for component in sorted(tree.get_all_components(of_type=Dataset), key=lambda one: one.dataset):
        if (name := component.dataset) in found:
            places = ", ".join(place for place, said in _said(r"\s+dataset") if said == name)
            raise DefsError(
                f"two datasets are called {name!r} ({places}); give one another name in `dataset:`"
            )
        found[name] = component
    return found


def _lines(error: BaseException) -> list[str]:
    """The file, the line, the field and what is wrong there, for each mistake that was found."""
    if isinstance(error, YamlLimitError):
        return [str(error)]
    causes = [error]
    while deeper := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(deeper)
    # Dagster makes pydantic's error anew with the place in the file, so that is not the deepest one.
    wrong = next((cause for cause in causes if isinstance(cause, ValidationError)), None)
    if wrong is None:
        said = " ".join(str(causes[-1]).split())
        return [_unknown_type(said) or _unfinished() or said]
    return [_line(mistake) for mistake in wrong.errors(include_url=False)]


def _line(mistake: ErrorDetails) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    if found := _PLACE.fullmatch(where):
        where = f"{found['file']}, {found['field']}"
        if mistake["type"] == "extra_forbidden":  # beside `attributes`, where the words are Dagster's
            return f"{where}: {unknown_name(found['field'], _TOP)}"
    return f"{where}: {plain(mistake)}"


def _unfinished() -> str | None:
    """Which file lacks what each has, as Dagster tells nothing of it."""
    for file in sorted(defs_folder().rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        for field in _TOP:
            if not re.search(rf"^{field}:", text, re.MULTILINE):
                return f"{file}: no line begins with `{field}:`"
    return None


def _unknown_type(error: str) -> str | None:
    """Where a component type stands that there is not, as Dagster tells neither file nor line of it.

    Args:
        error: Its message, with a module and a name, or a module, in backticks or quotes.
    """
    type = ".".join(re.findall(r"[`']([^`']+)[`']", error))
    there = [f"{export_pipeline.__name__}.{name}" for name in export_pipeline.__all__]
    for place, said in _said("type"):
        if type and f"{said}.".startswith(f"{type}."):
            return f"{place}, type: {unknown_name(said, there)}"
    return None


def _said(field: str) -> Iterator[tuple[str, str]]:
    """Place and value of each line of the YAML files that begins with this field, an expression."""
    line = re.compile(rf"{field}:\s*[\"']?([^\s\"'#]+)")
    for file in sorted(defs_folder().rglob("*.yaml")):
        for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if match := line.match(text):
                yield f"{file}:{number}", match[1]


_TOP = ("type", "attributes")
_PLACE = re.compile(r"(?:attributes\.)?(?P<field>.*) at (?P<file>.*:\d+)")
