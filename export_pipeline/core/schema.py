"""A table's columns as a Frictionless Table Schema."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from export_pipeline.core.columns import Column

_FIELD_TYPES = {
    "integer": ("integer", None),
    "decimal": ("number", None),
    "money": ("number", None),
    "percent": ("number", None),
    "float": ("number", None),
    "boolean": ("boolean", None),
    "date": ("date", None),
    "timestamp": ("datetime", None),
    "json": ("any", None),
    "uuid": ("string", "uuid"),
    "url": ("string", "uri"),
}


def replace_surrogates(text: Any) -> Any:
    """Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text) if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(replace_surrogates)]


class SchemaField(BaseModel):
    """One column: `name` is the file's header; `type` and `format` follow Frictionless Table Schema."""

    model_config = ConfigDict(frozen=True)

    name: Text
    type: str
    format: str | None = None


class Schema(BaseModel):
    """The columns of the file, in order."""

    model_config = ConfigDict(frozen=True)

    fields: tuple[SchemaField, ...] = ()

    @classmethod
    def of(cls, columns: Iterable[Column]) -> Schema:
        """Return the schema of a table's columns."""
        typed = ((column.header, *_FIELD_TYPES.get(str(column.kind), ("string", None))) for column in columns)
        return cls(fields=tuple(SchemaField(name=n, type=t, format=f) for n, t, f in typed))
