"""The shape of an export: columns, tables, layouts, windows. Pure: no database, no file, no Dagster.

pyarrow imports pandas when it first makes an array, which costs a second and 60 MB in every run, and nothing
here needs it. pyarrow remembers that pandas is missing; pandas itself can still be imported.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any


class _NoPandas:
    """Makes `import pandas` fail while it is in `sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError("pandas is kept out of the workers")


class _PyarrowFinder:
    """Keeps pandas from pyarrow as soon as that is imported."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> Any:
        if name != "pyarrow":
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                sys.meta_path.remove(_PyarrowFinder)
                execute(module)
                _hide_pandas(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _hide_pandas(pyarrow: Any) -> None:
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pyarrow.array([0])
        finally:
            sys.meta_path.remove(_NoPandas)


if "pyarrow" in sys.modules:
    _hide_pandas(sys.modules["pyarrow"])
else:
    sys.meta_path.insert(0, _PyarrowFinder)
