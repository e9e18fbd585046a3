"""From pydantic options to the config that the launchpad shows, with types, defaults and help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


class OptionError(ValueError):
    """An option is unknown or has a wrong value. The message is one line that says what is allowed."""


def config_schema(dataset: str, defaults: Mapping[str, Any], *models: type[BaseModel]) -> dict[str, dg.Field]:
    """One flat Dagster config schema with the fields of these models.

    Args:
        dataset: Part of the names of enums, as Dagster wants every enum of a code location to have its own.
        defaults: Values that go before the models' own defaults.
    """
    return {
        name: _field(dataset, name, field, defaults)
        for model in models
        for name, field in model.model_fields.items()
    }


def parse_options(config: Mapping[str, Any], *models: type[BaseModel]) -> list[BaseModel]:
    """The models out of a flat config, each with its own fields.

    Raises:
        OptionError: an option is unknown, or a value is wrong.
    """
    known = [name for model in models for name in model.model_fields]
    if unknown := [name for name in config if name not in known]:
        raise OptionError(f"There is no option {', '.join(unknown)}; there are {', '.join(known)}.")
    try:
        return [
            model.model_validate({name: config[name] for name in model.model_fields if name in config})
            for model in models
        ]
    except ValidationError as error:
        raise OptionError(
            "; ".join(
                f"option {one['loc'][0]}: {one['msg'].removeprefix('Value error, ')}"
                for one in error.errors(include_url=False)
            )
        ) from None


def is_list(field: FieldInfo) -> bool:
    """Whether an option is a list of texts."""
    return field.annotation == tuple[str, ...] | None


def _field(dataset: str, name: str, field: FieldInfo, defaults: Mapping[str, Any]) -> dg.Field:
    annotation = field.annotation
    default = defaults.get(name, field.default)
    kind: Any
    if annotation is bool:
        kind = bool
    elif get_origin(annotation) is Literal:
        values = [dg.EnumValue(choice, choice) for choice in get_args(annotation)]
        kind = dg.Enum(f"{dataset}_{name}", values)
    elif is_list(field):
        kind, default = [str], list(default or ())
    else:
        raise TypeError(f"option {name} has a type that the launchpad cannot show: {annotation}")
    return dg.Field(kind, default_value=default, description=field.description)
