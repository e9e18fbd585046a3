"""The shape of an export: columns, tables, layouts, windows. Pure: no database, no file, no Dagster."""

import sys

import pyarrow


class _NoPandas:
    """Makes `import pandas` fail while it is in `sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError("pandas is kept out of the workers")


if "pandas" not in sys.modules:
    # pyarrow imports pandas when it first makes an array, which costs a second and 60 MB in every run, and
    # nothing here needs it. pyarrow remembers that pandas is missing; pandas itself can still be imported.
    sys.meta_path.insert(0, _NoPandas)
    try:
        pyarrow.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
