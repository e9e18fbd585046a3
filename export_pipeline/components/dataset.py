"""Base component of all datasets: the definitions built from their attributes in defs.yaml."""

from __future__ import annotations

from typing import ClassVar

import dagster as dg
from pydantic import BaseModel

from export_pipeline.datasets.attributes import DatasetModel
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.orchestration.assets import export_assets
from export_pipeline.orchestration.cadences import Cadence
from export_pipeline.orchestration.lineage import application_asset
from export_pipeline.orchestration.partitions import ON_DEMAND, windows_partition
from export_pipeline.orchestration.schedules import cadence_schedule
from export_pipeline.orchestration.sensors.scopes import scopes_sensor
from export_pipeline.settings import load_settings


class DatasetComponent(Dataset, dg.Component):
    """A dataset as a component of Dagster."""

    model: ClassVar[type[DatasetModel]]

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return cls.model

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
                self.windows_have_scopes,
                rule.recipients,
                [owner for owner in declared.owners if "@" in owner],  # the others are teams
            )
            for name, rule in declared.cadences.named().items()
        }

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the dataset's assets with their checks, its schedules and its sensor."""
        attributes, default_zone = self.attributes, load_settings().timezone
        assets = []
        for name, rule in {ON_DEMAND: None, **attributes.cadences.named()}.items():
            assets.append(export_assets(self, name, rule, default_zone))
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
        sensors = (
            [
                scopes_sensor(
                    dataset=self.dataset,
                    source=self.source,
                    spec=self.spec,
                    labels_scopes=self.labels_scopes,
                )
            ]
            if self.scoped
            else []
        )
        return dg.Definitions(assets=[application_asset(self), *assets], schedules=schedules, sensors=sensors)
