"""Messages for people: one line of any text, and pydantic's validation errors in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

_MAX_LENGTH = 2_000
_END = 600


def one_line(text: str) -> str:
    """Escape unprintable characters (a line break as \\n), and cut out the middle of a long text."""
    if len(text) > _MAX_LENGTH:
        text = f"{text[: _MAX_LENGTH - _END]} … {text[-_END:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sentence(text: str) -> str:
    """Add a full stop to a text that does not end a sentence yet, so that another sentence can follow."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


_NUMBER, _WHOLE, _BOOLEAN = "it must be a number", "it must be a whole number", "it must be true or false"
_DAY = "it must be a day such as 2026-11-21"
_WORDS: Mapping[str, str] = {
    "missing": "it is missing",
    "literal_error": "it must be {expected}",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "sequence_str": "it must be a list",
    "is_instance_of": "it must be a list",  # in these models, pydantic raises it only for sequences
    "dict_type": "it must be an object",
    "mapping_type": "it must be an object",
    "string_type": "it must be a string",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "it has too many digits",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "decimal_max_digits": "it must have at most {max_digits} digits",
    "finite_number": "it must be a finite number",
    "date_type": _DAY,
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "greater_than_equal": "it must be {ge} or more",
    "greater_than": "it must be more than {gt}",
    "less_than_equal": "it must be {le} or less",
    "less_than": "it must be less than {lt}",
    "too_short": "it must list at least {min_length}",
    "too_long": "it must list at most {max_length}",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "string_pattern_mismatch": "it must match {pattern}",
}
_LONGEST = 60


def describe_error(error: ErrorDetails) -> str:
    """Return an error as one sentence without its place: the expected and, if it helps, the given value."""
    message = _WORDS.get(error["type"])
    if message is None:
        return error["msg"].removeprefix("Value error, ")
    sentence = message.format(**error.get("ctx", {}))
    return sentence if error["type"] == "missing" else f"{sentence}, not {_quote_value(error['input'])}"


def _quote_value(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
