"""Base model for YAML and options: an unknown name is refused, and the nearest known one suggested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails

_MAX_NAMED = 20
"""Number of unknown names reported at once; finding the nearest known name takes time for each."""
_MAX_CUT = 1_000
"""Number of names that are searched for values cut by YAML."""


class Strict(BaseModel):
    """A model that accepts only its fields' names (a field's alias, if it has one)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_names(cls, values: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if not isinstance(values, Mapping):
            if isinstance(values, cls):
                return values
            such = f' such as {{"{known[0]}": …}}' if known else ""
            raise ValueError(f"it must be an object{such}; {_there(known)}")
        taken = {*known, *cls.model_fields}
        if unknown := [name for name in values if name not in taken]:
            cut = _cut_value(values)
            few = unknown[:_MAX_NAMED]
            raise error_at(
                cls.__name__, cut or {(name,): describe_unknown_name(str(name)[:100], known) for name in few}
            )
        return values


def describe_unknown_name(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known name, then all known names."""
    there = list(known)
    # If names for descending order (with "-") are among them, ignore the sign when comparing.
    sign = "-" if name.startswith("-") and any(one.startswith("-") for one in there) else ""
    near = get_close_matches(name[len(sign) :], [one.removeprefix("-") for one in there], 1, 0.5)
    hint = f"; did you mean {sign}{near[0]}?" if near else "."
    listed = _there(there)
    return f"there is no {name!r}{hint} {listed[0].upper()}{listed[1:]}"


def _there(names: Sequence[str]) -> str:
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}"


def _cut_value(values: Mapping[Any, Any]) -> dict[tuple[str | int, ...], str]:
    """Return the error for a value that YAML cut at its comma, as in `{type: money(12,2)}`; empty if none.

    YAML reads this as two names: `type`, with the value `money(12`, and `2)`, without a value.
    """
    items = list(values.items())[:_MAX_CUT]
    for place, (name, value) in enumerate(items):
        whole = value if isinstance(value, str) else ""
        for more, nothing in items[place + 1 :]:
            if whole.count("(") <= whole.count(")") or nothing is not None:
                break
            whole += f",{more}"
            if whole.count("(") == whole.count(")"):
                quoted = f'{name}: "{whole}"'
                return {(name,): f"YAML cuts it at its comma to {value!r}; inside {{…}} quote it, {quoted}"}
    return {}


def error_at(title: str, messages: Mapping[tuple[str | int, ...], str]) -> ValidationError:
    """Return an error with a message for each place, relative to the model that raises it.

    The errors have a type known to pydantic, because Dagster recreates them with file and line, and can
    do this only for known types.
    """
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(type="value_error", loc=place, input=None, ctx={"error": ValueError(message)})
            for place, message in messages.items()
        ],
    )
