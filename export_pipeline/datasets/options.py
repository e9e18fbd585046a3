"""Options of an export: parse a flat mapping into the pydantic models of dataset and formats."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from export_pipeline.core.one_line import one_line
from export_pipeline.core.plain_errors import plain


class OptionError(ValueError):
    """Raised for an unknown option or an invalid value. The message states in one line what is valid."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def parse_options(config: Mapping[str, Any], *models: type[BaseModel]) -> list[BaseModel]:
    """Parse a flat config into these models, each with its own fields.

    Raises:
        OptionError: an option is unknown, or a value is invalid.
    """
    known = [name for model in models for name in model.model_fields]
    if unknown := [name for name in config if name not in known]:
        near = get_close_matches(unknown[0], known, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise OptionError(f"There is no option {', '.join(unknown)}; there are {', '.join(known)}.{hint}")
    try:
        return [
            model.model_validate({name: config[name] for name in model.model_fields if name in config})
            for model in models
        ]
    except ValidationError as error:
        raise OptionError("; ".join(map(_sentence, error.errors(include_url=False)))) from None


def is_list(field: FieldInfo) -> bool:
    """Return whether an option is a list."""
    return get_origin(without_none(field.annotation)) is tuple


def _sentence(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"])
    return f"option {where}: {plain(error)}"


def without_none(annotation: Any) -> Any:
    """Return the annotation without `| None`."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        if len(parts) == 1:
            return parts[0]
    return annotation
