"""The building blocks of checked expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from export_pipeline.core.columns import Kind
from export_pipeline.expressions.types import Cells, Env, Type, common_type, convert

Run: TypeAlias = Callable[[Env], Cells]


@dataclass(frozen=True, slots=True)
class Node:
    """A checked part of an expression.

    Attributes:
        type: The type of its cells.
        run: Computes its cells for the rows of an `Env`.
        literal: The value, if the part is a literal.
    """

    type: Type
    run: Run
    literal: Any = None


Make: TypeAlias = Callable[[Sequence[Node]], Node]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        usage: The form of a call, for messages, e.g. "round(x, digits)".
        least, most: The minimum and maximum number of arguments; `most` is None without a maximum.
        make: Returns the checked call; raises ValueError for arguments of wrong types.
    """

    usage: str
    least: int
    most: int | None
    make: Make


def as_type(node: Node, target: Type) -> Run:
    """Return a function that computes a node's cells as another type."""
    if node.type == target:
        return node.run
    return lambda env: convert(node.run(env), node.type, target)


def unify(nodes: Sequence[Node]) -> tuple[Type, list[Run]]:
    """Return the common type of several nodes, and functions that compute their cells as that type."""
    type = nodes[0].type
    for node in nodes[1:]:
        type = common_type(type, node.type)
    return type, [as_type(node, type) for node in nodes]


def require_kind(node: Node, usage: str, *kinds: Kind) -> None:
    """Refuse a node of another kind.

    Raises:
        ValueError: The node is of none of these kinds.
    """
    if node.type.kind not in kinds:
        listed = " or ".join(str(kind) for kind in kinds)
        raise ValueError(f"{usage} needs {listed}, not {node.type}")


def require_integer(node: Node, usage: str, most: int) -> int:
    """Return the value of an integer literal.

    Raises:
        ValueError: The node is not a literal from 0 to `most`.
    """
    if type(node.literal) is not int or not 0 <= node.literal <= most:
        raise ValueError(f"{usage} needs a literal number from 0 to {most} there")
    return int(node.literal)
