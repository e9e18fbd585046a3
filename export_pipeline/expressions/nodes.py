"""The parts that checked expressions are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from export_pipeline.core.columns import Kind
from export_pipeline.expressions.types import Cells, Env, Type, common, convert

Run: TypeAlias = Callable[[Env], Cells]


@dataclass(frozen=True, slots=True)
class Node:
    """A checked part of an expression.

    Attributes:
        type: What it gives.
        run: Gives its cells for some rows.
        literal: The value, if it is written down as one.
    """

    type: Type
    run: Run
    literal: Any = None


Make: TypeAlias = Callable[[Sequence[Node]], Node]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        usage: How it is written, for messages, e.g. "round(x, digits)".
        least, most: How many arguments it takes; `most` None for any number.
        make: Makes the checked call; raises ValueError for arguments of wrong types.
    """

    usage: str
    least: int
    most: int | None
    make: Make


def as_type(node: Node, wanted: Type) -> Run:
    """How to get a node's cells as another type."""
    if node.type == wanted:
        return node.run
    return lambda env: convert(node.run(env), node.type, wanted)


def unified(nodes: Sequence[Node]) -> tuple[Type, list[Run]]:
    """The one type of several nodes, and how to get the cells of each as that."""
    wanted = nodes[0].type
    for node in nodes[1:]:
        wanted = common(wanted, node.type)
    return wanted, [as_type(node, wanted) for node in nodes]


def want(node: Node, usage: str, *kinds: Kind) -> None:
    """Refuse a node of another kind.

    Raises:
        ValueError: it is of none of these kinds.
    """
    if node.type.kind not in kinds:
        listed = " or ".join(str(kind) for kind in kinds)
        raise ValueError(f"{usage} wants {listed}, not {node.type}")


def whole(node: Node, usage: str, most: int) -> int:
    """The number that a node is written as.

    Raises:
        ValueError: it is no written number from 0 to `most`.
    """
    if type(node.literal) is not int or not 0 <= node.literal <= most:
        raise ValueError(f"{usage} wants a written number from 0 to {most} there")
    return int(node.literal)
