"""Base component of all datasets: common attributes in defs.yaml, and the definitions built from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
from pydantic import BaseModel, Field, field_validator

from export_pipeline.core.strict import Strict
from export_pipeline.delivery.addresses import check_addresses
from export_pipeline.formats.options import FormatOptions, of_other_formats
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.assets import application_key, export_assets
from export_pipeline.orchestration.cadences import Cadence
from export_pipeline.orchestration.launch_config import OptionError, is_list, parse_options
from export_pipeline.orchestration.partitions import ON_DEMAND, windows_partition
from export_pipeline.orchestration.schedules import cadence_schedule, scopes_sensor
from export_pipeline.settings import load_settings
from export_pipeline.time_zones import zone_problem


class CadenceRule(Strict):
    """A regular export: its schedule, windows, formats and recipients."""

    cron: Annotated[str, Field(description="When the schedule ticks, in the cadence's time zone.")]
    timezone: Annotated[
        str | None, Field(description="IANA zone of its ticks and windows; by default EXPORT_TIMEZONE.")
    ] = None
    formats: Annotated[
        Sequence[str] | None, Field(description="Formats that the schedule makes; by default all.")
    ] = None
    misfire: Annotated[
        Literal["last", "all"], Field(description="Which windows to make that ended while nothing ran.")
    ] = "last"
    recipients: Annotated[
        Sequence[str], Field(description="E-mail addresses; each gets every file of a scheduled window once.")
    ] = ()

    @field_validator("cron")
    @classmethod
    def _ticks(cls, cron: str) -> str:
        try:
            dg.ScheduleDefinition(name="ticks", job_name="none", cron_schedule=cron)
        except dg.DagsterInvalidDefinitionError:
            raise ValueError(f"{cron!r} is no cron line of five fields such as '15 2 * * *'") from None
        return cron

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        if name is not None and (problem := zone_problem(name)):
            raise ValueError(problem)
        return name

    @field_validator("formats")
    @classmethod
    def _known(cls, names: Sequence[str] | None) -> Sequence[str] | None:
        return names and known_formats(names)

    @field_validator("recipients")
    @classmethod
    def _addresses(cls, recipients: Sequence[str]) -> Sequence[str]:
        check_addresses(recipients)
        return recipients


class Cadences(Strict):
    """The regular exports of a dataset. A cadence that is left out is not exported."""

    daily: CadenceRule | None = None
    weekly: CadenceRule | None = None
    monthly: CadenceRule | None = None

    def named(self) -> dict[str, CadenceRule]:
        """Return the declared cadences by name."""
        return {name: cadence for name, cadence in self if cadence}


class DatasetModel(Strict):
    """Attributes that every dataset has in defs.yaml."""

    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the dataset.")]
    description: Annotated[str, Field(description="What is exported, for people.")]
    owners: Annotated[Sequence[str], Field(description="E-mail addresses, or teams as `team:name`.")] = ()
    formats: Annotated[Sequence[str], Field(min_length=1, description="Formats to offer.")]
    start: Annotated[str, Field(description="First day that backfills reach, as YYYY-MM-DD.")] = "2026-01-01"
    cadences: Annotated[Cadences, Field(description="Regular exports.")] = Cadences()
    single_run: Annotated[
        bool, Field(description="A backfill is one run with one snapshot, not a run for each partition.")
    ] = False
    retention_days: Annotated[
        int | None, Field(ge=1, description="Days that files are kept; by default EXPORT_RETENTION_DAYS.")
    ] = None
    preview: Annotated[
        bool,
        Field(description="Show the first rows of each file in Dagster's UI, without personal columns."),
    ] = True
    options: Annotated[
        Mapping[str, Any],
        Field(description="Defaults of the launchpad, and what schedules and backfills use."),
    ] = {}

    @field_validator("formats")
    @classmethod
    def _known(cls, names: Sequence[str]) -> Sequence[str]:
        return known_formats(names)

    @field_validator("options")
    @classmethod
    def _names_nobody(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if "requested_by" in options:
            raise ValueError("requested_by is no default: each request says who asks")
        return options

    @field_validator("start")
    @classmethod
    def _day(cls, start: str) -> str:
        return date.fromisoformat(start).isoformat()


def known_formats(names: Sequence[str]) -> Sequence[str]:
    """Return the names unchanged. Raise ValueError if one is not a registered format."""
    if unknown := [name for name in names if name not in FORMATS]:
        near = get_close_matches(unknown[0], FORMATS, 1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise ValueError(f"{', '.join(unknown)}: no such format; {hint} are {', '.join(FORMATS)}")
    return names


class Dataset(dg.Component):
    """A dataset: its attributes from defs.yaml, and the modules that read and shape it.

    Attributes:
        attributes: Attributes from defs.yaml.
        source: Module with `scopes(snapshot, spec)` and `read(snapshot, request)`.
        shape: Module with `options(spec)`, `build(data)` and `layout(data)`.
        spec: Description of the dataset for these modules; JSON values only.
        scoped: True if its rows belong to scopes.
        windowed: True if it can be exported for a day, week or month.
    """

    model: ClassVar[type[DatasetModel]]

    def __init__(
        self,
        attributes: DatasetModel,
        *,
        source: str,
        shape: str,
        spec: Mapping[str, Any],
        scoped: bool,
        windowed: bool = True,
    ) -> None:
        self.attributes, self.source, self.shape, self.spec = attributes, source, shape, spec
        self.scoped, self.windowed = scoped, windowed

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return cls.model

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.attributes.dataset

    @property
    def formats(self) -> Sequence[str]:
        """Names of the formats that it offers."""
        return self.attributes.formats

    def regular(self) -> dict[str, Cadence]:
        """Return its cadences by name."""
        declared, default_zone = self.attributes, load_settings().timezone
        return {
            name: Cadence(
                self.dataset,
                name,
                rule.formats or declared.formats,
                windows_partition(name, declared.start, rule.timezone or default_zone),
                self.scoped,
                rule.recipients,
                [owner for owner in declared.owners if "@" in owner],  # the others are teams
            )
            for name, rule in declared.cadences.named().items()
        }

    def option_models(self) -> tuple[type[BaseModel], ...]:
        """Return the pydantic models that define the options of the dataset."""
        return import_module(self.shape).options(self.spec), FormatOptions

    def option_names(self) -> set[str]:
        """Return the names of all options."""
        return {name for model in self.option_models() for name in model.model_fields}

    def typed_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the given options to the launchpad's config. A list may be a comma-separated string.

        Raises:
            OptionError: an option is unknown or has an invalid value.
        """
        if other := sorted(of_other_formats(self.formats).intersection(given)):
            message = (
                f"option {other[0]}: {self.dataset} has no such format; it has {', '.join(self.formats)}"
            )
            raise OptionError(message)
        models = self.option_models()
        lists = {name for model in models for name, field in model.model_fields.items() if is_list(field)}
        values = {
            name: [part.strip() for part in value.split(",") if part.strip()]
            if name in lists and isinstance(value, str)
            else value
            for name, value in given.items()
        }
        parsed = parse_options({**self.attributes.options, **values}, *models)
        typed = {
            name: value
            for model in parsed
            for name, value in model.model_dump(mode="json", by_alias=True, exclude_none=True).items()
        }
        return {name: typed.get(name, []) for name in given if name in typed or name in lists}

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the dataset's assets with their checks, its schedules and its sensor."""
        attributes = self.attributes
        default_zone = load_settings().timezone
        assets = []
        for name, rule in {ON_DEMAND: None, **attributes.cadences.named()}.items():
            assets.append(
                export_assets(
                    dataset=self.dataset,
                    cadence=name,
                    source=self.source,
                    model=self.shape,
                    spec=self.spec,
                    formats=attributes.formats,
                    start=attributes.start,
                    timezone=(rule and rule.timezone) or default_zone,
                    scoped=self.scoped,
                    single_run=attributes.single_run,
                    description=attributes.description,
                    owners=attributes.owners,
                    options=attributes.options,
                    retention_days=attributes.retention_days,
                    preview=attributes.preview,
                )
            )
        schedules = []
        for name, cadence in self.regular().items():
            rule = attributes.cadences.named()[name]
            schedules.append(
                cadence_schedule(
                    cadence,
                    cron=rule.cron,
                    timezone=rule.timezone or default_zone,
                    catches_up=rule.misfire == "all",
                )
            )
        application = dg.AssetSpec(
            application_key(self.dataset),
            description=f"The application's own tables that {self.dataset} is exported from; only read.",
            group_name=self.dataset,
            owners=list(attributes.owners),
            kinds={"table"},
        )
        sensors = (
            [scopes_sensor(dataset=self.dataset, source=self.source, spec=self.spec)] if self.scoped else []
        )
        return dg.Definitions(assets=[application, *assets], schedules=schedules, sensors=sensors)
