"""Options of an export: parse a flat mapping into the pydantic models of dataset and formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from export_pipeline.core.messages import describe_error, one_line


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """An invalid field of a request.

    Attributes:
        path: Names and positions that lead to it.
        detail: What is wrong, and what is valid.
        allowed: The valid values, if they can be listed.
    """

    path: tuple[str | int, ...]
    detail: str
    allowed: Sequence[str] | None = None


class OptionError(ValueError):
    """Raised for an unknown option or an invalid value. The message states in one line what is valid.

    Attributes:
        problems: The same by field.
    """

    def __init__(self, message: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(one_line(message))
        self.problems = problems


def parse_options(config: Mapping[str, Any], *models: type[BaseModel]) -> list[BaseModel]:
    """Parse a flat config into these models, each with its own fields.

    Raises:
        OptionError: an option is unknown, or a value is invalid.
    """
    known = [name for model in models for name in model.model_fields]
    if unknown := [name for name in config if name not in known]:
        near = get_close_matches(unknown[0], known, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        message = f"There is no option {', '.join(unknown)}; there are {', '.join(known)}.{hint}"
        raise OptionError(
            message, [FieldProblem((name,), "There is no such option.", known) for name in unknown]
        )
    try:
        return [
            model.model_validate({name: config[name] for name in model.model_fields if name in config})
            for model in models
        ]
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems = [FieldProblem(one["loc"], describe_error(one)) for one in errors]
        raise OptionError("; ".join(map(_sentence, problems)), problems) from None


def is_list(field: FieldInfo) -> bool:
    """Return whether an option is a list."""
    return get_origin(without_none(field.annotation)) is tuple


def _sentence(problem: FieldProblem) -> str:
    return f"option {'.'.join(map(str, problem.path))}: {problem.detail}"


def without_none(annotation: Any) -> Any:
    """Return the annotation without `| None`."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        if len(parts) == 1:
            return parts[0]
    return annotation
