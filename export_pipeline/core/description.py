"""Descriptions of datasets: their columns, and the application's tables that they read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """A column of a table of the application."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class ColumnDescription:
    """A column of a dataset.

    Attributes:
        kind: Its type, e.g. decimal.
        description: A sentence for people; None if nobody wrote one.
        origins: The columns of the application that it is read or computed from.
        is_extra: True if it is exported only if a request names it.
    """

    name: str
    header: str
    kind: str
    description: str | None = None
    origins: tuple[Origin, ...] = ()
    is_extra: bool = False
    is_personal: bool = False
    is_guarded: bool = False


@dataclass(frozen=True, slots=True)
class ShapeDescription:
    """The columns of a dataset, and the tables that it is read from. Empty where the shape does not say."""

    columns: tuple[ColumnDescription, ...] = ()
    tables: tuple[str, ...] = ()
