"""Arrow and numpy, loaded when one of their names is first used: for modules that also describe exports.

The HTTP service loads the description of every dataset, and computes no cell. Without the two its process is
60 MB smaller. Modules that only work on rows import them as usual.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc
else:

    class _LoadedOnUse(ModuleType):
        """A module that is imported when one of its names is first used."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(import_module(self.__name__), name)
            setattr(self, name, value)
            return value

    np, npt = _LoadedOnUse("numpy"), _LoadedOnUse("numpy.typing")
    pa, pc = _LoadedOnUse("pyarrow"), _LoadedOnUse("pyarrow.compute")

__all__ = ["np", "npt", "pa", "pc"]
