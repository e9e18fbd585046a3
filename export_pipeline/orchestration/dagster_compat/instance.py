"""The instance, and the config of classes that dagster.yaml names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData as ConfigurableClassData


class GuardedInstance(dg.DagsterInstance):
    """A Dagster instance that asks `check_backfill` and `check_new_partitions` before it records anything.

    dagster.yaml names it as `instance_class`. Everything that starts a backfill ends in `add_backfill`, and
    the UI shows the error that is raised there.
    """

    @classmethod
    def config_schema(cls) -> dict[str, dg.Field]:
        return {"instance_class": dg.Field(dict, is_required=False)}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Any:
        return InstanceRef.config_defaults(base_dir)

    def __init__(self, *args: Any, instance_class: Any = None, **more: Any) -> None:
        super().__init__(*args, **more)

    def check_backfill(self, partitions: int) -> None:
        """Raise an error if a backfill has too many partitions."""

    def check_new_partitions(self, name: str, keys: Sequence[str]) -> None:
        """Raise an error if a person may not add these dynamic partitions in the UI."""

    def add_backfill(self, partition_backfill: Any) -> None:
        self.check_backfill(_backfill_size(partition_backfill))
        super().add_backfill(partition_backfill)

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        if "dagster_webserver" in sys.modules:
            self.check_new_partitions(partitions_def_name, partition_keys)
        super().add_dynamic_partitions(partitions_def_name, partition_keys)


def _backfill_size(backfill: Any) -> int:
    """Return the number of partitions of a backfill. Formats of one cadence are made by the same runs."""
    if backfill.asset_backfill_data is None:
        return len(backfill.partition_names or ())
    sizes: dict[tuple[str, ...], int] = {}
    for key, subset in backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.items():
        group = tuple(key.path[:-1]) or tuple(key.path)
        sizes[group] = max(sizes.get(group, 0), len(subset))
    return sum(sizes.values())
