"""Checks of parameters and bodies: no unknown parameter, and none or no field of a body twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from typing import Any, get_args, get_origin

from fastapi import Request

from export_pipeline.api.problems import Problem
from export_pipeline.datasets.options import FieldProblem


async def check_parameters(request: Request) -> None:
    """Refuse an unknown parameter, and one that is given twice but takes one value.

    A misspelt `dataset` would list all datasets, and of two values only the last would count. So it would
    of a field that a JSON body names twice, where a proxy may read the first.

    Raises:
        Problem: 422, naming the parameter.
    """
    parameters = request.scope["route"].dependant.query_params
    lists = [one.alias for one in parameters if _is_list(one.field_info.annotation)]
    refuse_parameters(request, [one.alias for one in parameters], lists=lists)
    if request.scope["route"].body_field is not None:
        with suppress(ValueError, RecursionError):  # no JSON: the route refuses it
            json.loads(await request.body(), object_pairs_hook=_refuse_repeated_field)


def refuse_parameters(
    request: Request, known: Collection[str], prefixes: Collection[str] = (), lists: Collection[str] = ()
) -> None:
    """Refuse a parameter that is neither known nor begins with a known prefix, or that is given twice.

    Args:
        lists: Parameters that may be repeated.

    Raises:
        Problem: 422, naming the parameter.
    """
    seen: set[str] = set()
    for key, _ in request.query_params.multi_items():
        if key not in known and not key.startswith(tuple(prefixes)):
            allowed = [*known, *(f"{prefix}…" for prefix in prefixes)]
            raise invalid_parameter(key, f"There is no parameter {key[:100]!r}.", allowed)
        if key in seen and key not in lists:
            raise invalid_parameter(key, f"The parameter {key[:100]} is given twice; give it once.")
        seen.add(key)


def invalid_parameter(key: str, message: str, allowed: list[str] | None = None) -> Problem:
    """Return the error for an invalid parameter."""
    return Problem(422, "invalid_request", message, [FieldProblem((key[:100],), message, allowed)])


def _refuse_repeated_field(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        key = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise invalid_parameter(key, f"The body gives {key[:100]} twice; give it once.")
    return fields


def _is_list(annotation: object) -> bool:
    return any(get_origin(part) is list for part in (annotation, *get_args(annotation)))
