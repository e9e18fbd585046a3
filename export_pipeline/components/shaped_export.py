"""A dataset with a shape of its own (such as takeoff's project > conditions > measurements)."""

from collections.abc import Mapping, Sequence
from datetime import date
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

import dagster as dg
from pydantic import Field, field_validator, model_validator

from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.assets import application_key, export_assets
from export_pipeline.orchestration.launch_config import is_list, parse_options
from export_pipeline.orchestration.partitions import ON_DEMAND, partitions
from export_pipeline.orchestration.schedules import cadence_schedule, scopes_sensor
from export_pipeline.settings import load_settings


class Cadence(dg.Model, dg.Resolvable):
    """A regular export: when it is made."""

    cron: Annotated[str, Field(description="When the schedule ticks, in the deployment's time zone.")]

    @field_validator("cron")
    @classmethod
    def _ticks(cls, cron: str) -> str:
        try:
            dg.ScheduleDefinition(name="ticks", job_name="none", cron_schedule=cron)
        except dg.DagsterInvalidDefinitionError:
            raise ValueError(f"{cron!r} is no cron line of five fields such as '15 2 * * *'") from None
        return cron


class Cadences(dg.Model, dg.Resolvable):
    """The regular exports of a dataset; one that is left out is not made."""

    daily: Cadence | None = None
    weekly: Cadence | None = None
    monthly: Cadence | None = None

    def crons(self) -> dict[str, str]:
        """Cron line by cadence, of those there are."""
        return {name: cadence.cron for name, cadence in self if cadence}


class ShapedExport(dg.Component, dg.Model, dg.Resolvable):
    """Exports of an application whose data are more than a table.

    Two modules know the application: one reads its tables, one knows the shape of its export.
    """

    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the dataset.")]
    source: Annotated[str, Field(description="Module with `scopes` and `read`.")]
    shape: Annotated[str, Field(description="Module with `Options`, `build` and `layout`.")]
    description: Annotated[str, Field(description="What is exported, for people.")]
    owners: Annotated[Sequence[str], Field(description="E-mail addresses, or teams as `team:name`.")] = ()
    formats: Annotated[Sequence[str], Field(min_length=1, description="Formats to offer.")] = tuple(FORMATS)
    start: Annotated[str, Field(description="First day that backfills reach, as YYYY-MM-DD.")]
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

    @field_validator("start")
    @classmethod
    def _day(cls, start: str) -> str:
        return date.fromisoformat(start).isoformat()

    @field_validator("source")
    @classmethod
    def _reads(cls, name: str) -> str:
        return _module(name, "scopes", "read").__name__

    @field_validator("shape")
    @classmethod
    def _shapes(cls, name: str) -> str:
        return _module(name, "Options", "build", "layout").__name__

    @model_validator(mode="after")
    def _options_are_valid(self) -> "ShapedExport":
        self.typed_options({})
        return self

    def typed_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options as the launchpad's config takes them; lists may be given as text with commas.

        Raises:
            OptionError: one is unknown or has a wrong value.
        """
        models = (import_module(self.shape).Options, FormatOptions)
        lists = {name for model in models for name, field in model.model_fields.items() if is_list(field)}
        values = {
            name: [part.strip() for part in value.split(",") if part.strip()]
            if name in lists and isinstance(value, str)
            else value
            for name, value in given.items()
        }
        parsed = parse_options({**self.options, **values}, *models)
        typed = {name: value for model in parsed for name, value in model.model_dump(mode="json").items()}
        return {name: (typed[name] or []) if name in lists else typed[name] for name in given}

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
        application = dg.AssetSpec(
            application_key(self.dataset),
            description=f"The application's own tables that {self.dataset} is exported from; only read.",
            group_name=self.dataset,
            owners=list(self.owners),
            kinds={"table"},
        )
        return dg.Definitions(assets=[application, *assets], schedules=schedules, sensors=[sensor])


def _module(name: str, *wanted: str) -> ModuleType:
    """The module of this name, with these attributes; else ValueError."""
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {error.name}") from None
    if missing := [attribute for attribute in wanted if not hasattr(module, attribute)]:
        raise ValueError(f"module {name} has no {', '.join(missing)}")
    return module
