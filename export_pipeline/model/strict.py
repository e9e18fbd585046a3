"""Models of what people write: an unknown name is refused, with the nearest one there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails


class Strict(BaseModel):
    """A model that takes only the names it has (a field's alias is its name, where it has one)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_names(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            taken = {*known, *cls.model_fields}
            if unknown := [name for name in values if name not in taken]:
                raise wrong(cls.__name__, {(name,): unknown_name(str(name), known) for name in unknown})
        return values


def unknown_name(name: str, known: Iterable[str]) -> str:
    """A sentence that says which names there are, the nearest one first."""
    there = list(known)
    near = get_close_matches(name, there, 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else "."
    verb = "is" if len(there) == 1 else "are"
    return f"there is no {name!r}{hint} There {verb} {', '.join(there) or 'none'}"


def wrong(title: str, messages: Mapping[tuple[str | int, ...], str]) -> ValidationError:
    """An error that says what is wrong at each of these places below the model that raises it.

    They are errors of a type that pydantic has: Dagster makes them anew with file and line, which it can only
    of those.
    """
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(type="value_error", loc=place, input=None, ctx={"error": ValueError(message)})
            for place, message in messages.items()
        ],
    )
