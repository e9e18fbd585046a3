"""The options of all formats in a request, independent of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import create_model

from export_pipeline.formats.base import Options
from export_pipeline.formats.registry import FORMATS


class _FormatOptions(Options):
    def of(self, format: str) -> Any:
        """Return one format's own options; for zip also those of the formats in it."""
        return FORMATS[format].options_of(self.model_dump())


_FIELDS: dict[str, Any] = {
    f"{format.prefix}_{name}": (field.annotation, field)
    for format in FORMATS.values()
    for name, field in format.options.model_fields.items()
}
FormatOptions = create_model(
    "FormatOptions",
    __base__=_FormatOptions,
    __doc__="Options of the formats; each has its format's prefix.",
    **_FIELDS,
)


def of_other_formats(formats: Sequence[str]) -> set[str]:
    """Return the names of options for formats that are not in this list; a ZIP may hold every general one."""
    own = {
        f"{format.prefix}_{field}"
        for name, format in FORMATS.items()
        if name in formats or ("zip" in formats and format.is_general)
        for field in format.options.model_fields
    }
    return _FIELDS.keys() - own
