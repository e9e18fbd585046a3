"""From pydantic options to the config that the launchpad shows, with types, defaults and help."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


def config_schema(*models: type[BaseModel]) -> dict[str, dg.Field]:
    """One flat Dagster config schema with the fields of these models."""
    return {name: _field(name, field) for model in models for name, field in model.model_fields.items()}


def split_config(config: dict[str, Any], *models: type[BaseModel]) -> list[BaseModel]:
    """The validated models out of a flat config.

    Raises:
        dagster.Failure: a value is wrong; the message names the option and what is allowed.
    """
    found = []
    for model in models:
        try:
            found.append(model.model_validate({k: v for k, v in config.items() if k in model.model_fields}))
        except ValidationError as error:
            raise dg.Failure(option_errors(error), allow_retries=False) from error
    return found


def option_errors(error: ValidationError) -> str:
    """What is wrong with options, in one line a person understands."""
    return "; ".join(
        f"option {'.'.join(str(part) for part in one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
        for one in error.errors(include_url=False)
    )


def _field(name: str, field: FieldInfo) -> dg.Field:
    annotation = field.annotation
    if annotation is bool:
        kind: Any = bool
    elif get_origin(annotation) is Literal:
        kind = dg.Enum(f"{name}_choice", [dg.EnumValue(choice, choice) for choice in get_args(annotation)])
    elif annotation == tuple[str, ...] | None:
        return dg.Field([str], default_value=[], description=field.description)
    else:
        raise TypeError(f"option {name} has a type that the launchpad cannot show: {annotation}")
    return dg.Field(kind, default_value=field.default, description=field.description)
