"""Attributes that every dataset has in its defs.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from croniter import croniter
from croniter.croniter import CroniterError
from pydantic import Field, field_validator, model_validator

from export_pipeline.core.strict_model import Strict
from export_pipeline.delivery.addresses import check_addresses
from export_pipeline.formats.registry import FORMATS
from export_pipeline.time_zones import zone_problem

# A run's tag has it before an id, and Dagster allows 63 characters.
FormatAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,21}$")]
"""Another name of a format: at most 22 small letters, digits and underscores."""

_SIZE = r"^[1-9][0-9]*(Mi|Gi)$"


class CadenceRule(Strict):
    """A regular export: its schedule, windows, formats and recipients."""

    cron: Annotated[str, Field(description="When the schedule ticks, in the cadence's time zone.")]
    timezone: Annotated[
        str | None, Field(description="IANA zone of its ticks and windows; by default EXPORT_TIMEZONE.")
    ] = None
    formats: Annotated[
        Sequence[str] | None, Field(description="Formats of the scheduled exports; by default all.")
    ] = None
    misfire: Annotated[
        Literal["last", "all"],
        Field(description="Which of the windows missed while nothing ran are exported."),
    ] = "last"
    recipients: Annotated[
        Sequence[str], Field(description="E-mail addresses; each gets every file of a scheduled window once.")
    ] = ()

    @field_validator("cron")
    @classmethod
    def _ticks(cls, cron: str) -> str:
        try:
            croniter(cron).get_next()
            fields = len(cron.split())
        except CroniterError:
            fields = 0
        if fields != 5 and not (fields and cron.startswith("@")):
            raise ValueError(f"{cron!r} is not a cron line of five fields such as '15 2 * * *'")
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


class Resources(Strict):
    """The size of the pod that exports a dataset on Kubernetes. Elsewhere it means nothing."""

    cpu: Annotated[float | None, Field(gt=0, description="Cores to reserve, e.g. 0.5.")] = None
    memory: Annotated[
        str | None, Field(pattern=_SIZE, description="Memory to reserve, and at most, e.g. 4Gi.")
    ] = None
    disk: Annotated[
        str | None, Field(pattern=_SIZE, description="Disk to reserve, and at most, e.g. 50Gi.")
    ] = None


class DatasetModel(Strict):
    """Attributes that every dataset has in defs.yaml."""

    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the dataset.")]
    description: Annotated[str, Field(description="What is exported, for people.")]
    owners: Annotated[Sequence[str], Field(description="E-mail addresses, or teams as `team:name`.")] = ()
    formats: Annotated[Sequence[str], Field(min_length=1, description="Formats to offer.")]
    format_aliases: Annotated[
        Mapping[FormatAlias, str],
        Field(description="Other names by which requests may ask for formats, e.g. those of an old system."),
    ] = {}
    start: Annotated[str, Field(description="First day that backfills reach, as YYYY-MM-DD.")] = "2026-01-01"
    cadences: Annotated[Cadences, Field(description="Regular exports.")] = Cadences()
    partition_windows_by_scope: Annotated[
        bool,
        Field(
            description="Each scope and window is a partition; false, for thousands of scopes: each window "
            "is one, and the scope of a run is in its config."
        ),
    ] = True
    single_run: Annotated[
        bool, Field(description="A backfill is one run with one snapshot, not a run for each partition.")
    ] = False
    retention_days: Annotated[
        int | None, Field(ge=1, description="Days that files are kept; by default EXPORT_RETENTION_DAYS.")
    ] = None
    reuse_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            description="The same request by the same person within this time gets the finished file, not a "
            "new one; by default never.",
        ),
    ] = None
    resources: Annotated[
        Resources, Field(description="Size of the pod of a run on Kubernetes; by default dagster.yaml's.")
    ] = Resources()
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

    @model_validator(mode="after")
    def _resolves_aliases(self) -> Self:
        for alias, format in self.format_aliases.items():
            if alias in FORMATS:
                raise ValueError(f"format_aliases.{alias}: a format has this name; choose another one")
            if format not in self.formats:
                there = ", ".join(self.formats)
                raise ValueError(
                    f"format_aliases.{alias}: {format} is not one of its formats; they are {there}"
                )
        return self

    @model_validator(mode="after")
    def _can_have_parts(self) -> Self:
        if self.options.get("parts") and not any(FORMATS[name].has_parts for name in self.formats):
            split = ", ".join(name for name, format in FORMATS.items() if format.has_parts)
            raise ValueError(f"options.parts: all its formats are one file; parts are for {split}")
        return self

    @field_validator("options")
    @classmethod
    def _has_no_requester(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if "requested_by" in options:
            raise ValueError("requested_by cannot have a default: each request names its requester")
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
        raise ValueError(f"{', '.join(unknown)}: unknown format; {hint} are {', '.join(FORMATS)}")
    return names
