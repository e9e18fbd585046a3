"""Options of a takeoff export."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from export_pipeline.time_zones import zone_problem

MAX_PRINTED = 100
"""Most measurements that a PDF lists if nobody asks for details."""


def _is_zone(name: str) -> str:
    if problem := zone_problem(name):
        raise ValueError(problem)
    return name


class TakeoffOptions(BaseModel):
    """Options of a takeoff export. Totals, counts and costs always match the exported rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    same_content: ClassVar = ("include_drawings", "group_by")

    include_unverified: Annotated[
        bool, Field(description="Also export measurements that nobody has verified yet.")
    ] = True
    include_rejected: Annotated[
        bool, Field(description="Also export measurements that a reviewer rejected.")
    ] = False
    include_costs: Annotated[
        bool, Field(description="Add assembly costs, scaled to the quantities exported.")
    ] = True
    include_details: Annotated[
        Literal["auto", "true", "false"],
        BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value),
        Field(
            description="List single measurements in Excel, PDF and JSON, or the summaries only. `auto`: a "
            f"PDF lists up to {MAX_PRINTED}, the others all. CSV and OST always list measurements."
        ),
    ] = "auto"
    include_empty_conditions: Annotated[
        bool, Field(description="Also make sheets and chapters of conditions without measurements.")
    ] = False
    include_drawings: Annotated[
        bool, Field(description="Draw each page's measured geometry to scale at the end of the PDF.")
    ] = False
    currency: Annotated[str, Field(max_length=10, description="Sign of money, e.g. $ or EUR.")] = "$"
    zone: Annotated[
        str, AfterValidator(_is_zone), Field(description="Zone of the times in Excel and PDF.")
    ] = "UTC"
    group_by: Annotated[
        Literal["condition", "page", "category"],
        Field(description="Grouping of the detail sheets of Excel and chapters of PDF."),
    ] = "condition"
    condition_ids: Annotated[
        tuple[str, ...] | None, Field(description="Export only these conditions (ids). Empty for all.")
    ] = None
    page_ids: Annotated[
        tuple[str, ...] | None,
        Field(description="Export only measurements on these pages (ids). Empty for all."),
    ] = None

    @field_validator("condition_ids", "page_ids")
    @classmethod
    def _ids(cls, ids: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return ids in their canonical form; an empty list means no choice.

        Raises:
            ValueError: An id is not a UUID; the message names it.
        """
        canonical = []
        for text in ids or ():
            try:
                canonical.append(str(uuid.UUID(text)))
            except ValueError:
                raise ValueError(f"{text!r} is not an id (a UUID such as {uuid.UUID(int=1)})") from None
        return tuple(canonical) or None


def options(spec: Mapping[str, Any]) -> type[TakeoffOptions]:
    """Return the options model of a takeoff export, the same in every deployment."""
    return TakeoffOptions
