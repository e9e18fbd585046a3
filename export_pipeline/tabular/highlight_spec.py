"""The typed form of `highlights` in a table export's defs.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from export_pipeline.core.highlights import Color, Look
from export_pipeline.core.strict_model import Strict

Finite = Annotated[float, Field(allow_inf_nan=False)]


def _values(value: Any) -> Any:
    """Expand `equals: OPEN`, short for `equals: [OPEN]`."""
    return value if isinstance(value, list | tuple) else [value]


class HighlightSpec(Strict):
    """A bar, a colour scale, or a colour for cells that meet a condition, in workbooks."""

    column: Annotated[str, Field(description="Column whose cells are highlighted.")]
    look: Annotated[Look | None, Field(description="data_bar, or color_scale.")] = None
    below: Annotated[Finite | None, Field(description="Colour smaller numbers, as they are shown.")] = None
    above: Annotated[Finite | None, Field(description="Colour greater numbers, as they are shown.")] = None
    equals: Annotated[
        Sequence[bool | float | str],
        BeforeValidator(_values, json_schema_input_type=bool | float | str | list[bool | float | str]),
        Field(max_length=20, description="Colour these values, as the database has them."),
    ] = ()
    color: Annotated[Color, Field(description="red, amber, green or blue.")] = "amber"

    @model_validator(mode="after")
    def _has_one_meaning(self) -> HighlightSpec:
        given = [self.look is not None, self.below is not None, self.above is not None, bool(self.equals)]
        if sum(given) != 1:
            raise ValueError("say one of look, below, above and equals")
        return self
