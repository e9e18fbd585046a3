"""Translate pydantic options into the config of the launchpad, with types, defaults and help."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from export_pipeline.datasets.options import without_none


def config_schema(
    dataset: str,
    defaults: Mapping[str, Any],
    *models: type[BaseModel],
    leave_out: Container[str] = (),
) -> dict[str, dg.Field]:
    """Return one flat Dagster config schema with the fields of these models.

    Args:
        dataset: Part of the names of enums, as Dagster requires unique enum names in a code location.
        defaults: Values that override the models' own defaults.
        models: The dataset's own options, then those of the formats.
        leave_out: Names of fields to leave out.
    """
    return {
        name: _option(f"{dataset}_{name}", field, defaults.get(name, _default(field)), model is models[0])
        for model in models
        for name, field in model.model_fields.items()
        if name not in leave_out
    }


def _option(path: str, field: FieldInfo, default: Any, is_own: bool) -> dg.Field:
    """Return the config field of an option.

    The launchpad opens with all fields that have a default value. So only the dataset's own options have one,
    also an empty one, and those of formats name theirs in the help.
    """
    made = _field(path, field, default)
    if not is_own:
        text = field.description
        if default not in (None, ""):
            text = f"{text} Default: {json.dumps(default, ensure_ascii=False)}."
        return dg.Field(made.config_type, is_required=False, description=text)
    if not made.default_provided and not field.is_required():
        annotation = without_none(field.annotation)
        if get_origin(annotation) is tuple:
            return dg.Field(made.config_type, default_value=[], description=field.description)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return dg.Field(made.config_type, default_value={}, description=field.description)
    return made


def in_order(*schemas: Mapping[str, dg.Field]) -> dict[str, dg.Field]:
    """Return one config schema whose fields the launchpad lists in this order: first what is chosen most."""
    fields = {name: field for schema in schemas for name, field in schema.items()}
    return {name: fields[name] for name in dict.fromkeys((*_FIRST, *fields)) if name in fields}


_FIRST = ("scope", "preset", "columns", "filters", "sort", "window")


def _default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    return (
        default.model_dump(mode="json", by_alias=True, exclude_none=True)
        if isinstance(default, BaseModel)
        else default
    )


def _field(path: str, field: FieldInfo, default: Any) -> dg.Field:
    annotation = without_none(field.annotation)
    kind = _kind(path, annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return dg.Field(kind, is_required=False, description=field.description)
    if isinstance(default, tuple):
        default = list(default)
    if default is None:
        return dg.Field(kind, is_required=False, description=field.description)
    return dg.Field(kind, default_value=default, description=field.description)


def _kind(path: str, annotation: Any) -> Any:
    """Return Dagster's config type for an option. Exact numbers and times are strings there."""
    if annotation in (bool, int, float, str):
        return annotation
    if annotation in (Decimal, date, datetime):
        return str
    if get_origin(annotation) is Literal:
        choices = [str(choice) for choice in get_args(annotation)]
        # The name is all that Dagster's message about a wrong value says of the enum.
        return dg.Enum(f"{path}, one of {', '.join(choices)}", [dg.EnumValue(one, one) for one in choices])
    if get_origin(annotation) is tuple:
        return [_kind(path, without_none(get_args(annotation)[0]))]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return dg.Shape(  # type: ignore[no-untyped-call]
            {
                inner.alias or name: _field(f"{path}_{name}", inner, _default(inner))
                for name, inner in annotation.model_fields.items()
            }
        )
    if get_origin(annotation) in (Union, UnionType):  # such as a date or a time: both are strings
        return str
    raise TypeError(f"option {path} has a type that the launchpad cannot show: {annotation}")
