"""The typed form of `charts` in a table export's defs.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from export_pipeline.core.charts import ChartType
from export_pipeline.core.strict_model import Strict

Period: TypeAlias = Literal["day", "week", "month", "quarter", "year"]

MAX_CHARTS = 6
MAX_MEASURES = 4


def _measures(value: Any) -> Any:
    """Expand `measure: profit`, short for `measure: [profit]`."""
    return [value] if isinstance(value, str) else value


class ChartSpec(Strict):
    """A chart of sums or counts by group, in PDF and workbooks."""

    type: Annotated[ChartType, Field(description="bar (horizontal), column (vertical), line or pie.")]
    group: Annotated[str, Field(description="Column whose values, or periods, are the categories.")]
    by: Annotated[Period, Field(description="Period of a date or timestamp: day … year.")] = "month"
    measure: Annotated[
        Sequence[str],
        BeforeValidator(_measures, json_schema_input_type=str | list[str]),
        Field(max_length=MAX_MEASURES, description="Columns that are added up; without any, rows count."),
    ] = ()
    split_by: Annotated[
        str | None, Field(description="Column whose values are the parts that a bar or column is made of.")
    ] = None
    title: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Heading; by default the measure and the group."),
    ] = None
    limit: Annotated[
        int,
        Field(
            ge=2,
            le=40,
            description="Most categories: the largest or newest; others are one, no date one more.",
        ),
    ] = 12

    @property
    def columns(self) -> frozenset[str]:
        """The names of the columns that it is made of."""
        return frozenset({self.group, *self.measure, *([self.split_by] if self.split_by else [])})

    @model_validator(mode="after")
    def _has_one_meaning(self) -> ChartSpec:
        if self.split_by is not None and len(self.measure) > 1:
            raise ValueError("a chart with split_by has one measure")
        if self.type == "pie" and (self.split_by is not None or len(self.measure) > 1):
            raise ValueError("a pie has one measure and no split_by; use bar or column")
        return self
