"""A dataset with a shape of its own (such as takeoff's project > conditions > measurements)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import dagster as dg
from pydantic import Field, field_validator

from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.assets import export_assets
from export_pipeline.orchestration.partitions import ON_DEMAND, partitions
from export_pipeline.orchestration.schedules import cadence_schedule, scopes_sensor
from export_pipeline.settings import load_settings


class Cadence(dg.Model, dg.Resolvable):  # type: ignore[misc]
    """A regular export: when it is made."""

    cron: Annotated[str, Field(description="When the schedule ticks, in the deployment's time zone.")]


class Cadences(dg.Model, dg.Resolvable):  # type: ignore[misc]
    """The regular exports of a dataset; one that is left out is not made."""

    daily: Cadence | None = None
    weekly: Cadence | None = None
    monthly: Cadence | None = None

    def crons(self) -> dict[str, str]:
        """Cron line by cadence, of those there are."""
        return {name: cadence.cron for name, cadence in self if cadence}


class ShapedExport(dg.Component, dg.Model, dg.Resolvable):  # type: ignore[misc]
    """Exports of an application whose data are more than a table.

    Two modules know the application: one reads its tables, one knows the shape of its export.
    """

    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the dataset.")]
    source: Annotated[str, Field(description="Module with `scopes` and `read`.")]
    shape: Annotated[str, Field(description="Module with `Options`, `build` and `layout`.")]
    description: Annotated[str, Field(description="What is exported, for people.")]
    owners: Annotated[Sequence[str], Field(description="E-mail addresses, or teams as `team:name`.")] = ()
    formats: Annotated[Sequence[str], Field(description="Formats to offer.")] = tuple(FORMATS)
    start: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$", description="First day that backfills reach.")]
    cadences: Annotated[Cadences, Field(description="Regular exports.")] = Cadences()
    options: Annotated[
        Mapping[str, Any],
        Field(description="Defaults of the launchpad, and what schedules and backfills use."),
    ] = {}

    @field_validator("formats")
    @classmethod
    def _known(cls, names: Sequence[str]) -> Sequence[str]:
        unknown = [name for name in names if name not in FORMATS]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such format; there are {', '.join(FORMATS)}")
        return names

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The dataset's assets with their checks, its schedules and its sensor."""
        timezone = load_settings().timezone
        assets, schedules = [], []
        for cadence, cron in {ON_DEMAND: "", **self.cadences.crons()}.items():
            made = export_assets(
                dataset=self.dataset,
                cadence=cadence,
                source=self.source,
                model=self.shape,
                formats=self.formats,
                partitions=partitions(self.dataset, cadence, self.start, timezone),
                description=self.description,
                owners=self.owners,
                options=self.options,
            )
            assets.append(made)
            if cron:
                schedules.append(
                    cadence_schedule(
                        dataset=self.dataset,
                        cadence=cadence,
                        cron=cron,
                        timezone=timezone,
                        assets=made,
                    )
                )
        sensor = scopes_sensor(dataset=self.dataset, source=self.source)
        return dg.Definitions(assets=assets, schedules=schedules, sensors=[sensor])
