"""Dagster's instance, as named in dagster.yaml: it refuses unknown scopes and too large backfills.

In the daemon it looks each second for sensors that are due, so that a request is taken without delay.
"""

from collections.abc import Sequence
from typing import Any

from export_pipeline.datasets.partition_keys import is_scopes_definition
from export_pipeline.orchestration.dagster_compat.instance import GuardedInstance
from export_pipeline.orchestration.dagster_compat.ticks import set_sensor_interval
from export_pipeline.settings import load_settings


class RefusedInUIError(Exception):
    """Raised when a person starts something in the UI that this deployment does not allow."""


class ExportInstance(GuardedInstance):
    """The instance of a deployment."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        set_sensor_interval(seconds=1)

    def check_backfill(self, partitions: int) -> None:
        """Refuse a backfill of more partitions than the setting allows.

        Raises:
            RefusedInUIError: it has too many.
        """
        limit = load_settings().max_backfill_partitions
        if 0 < limit < partitions:
            raise RefusedInUIError(
                f"This backfill has {partitions:,} partitions, and EXPORT_MAX_BACKFILL_PARTITIONS allows "
                f"{limit:,}. Choose fewer scopes or windows, or raise the setting."
            )

    def check_new_partitions(self, name: str, keys: Sequence[str]) -> None:
        """Refuse scopes that a person adds in the UI.

        Raises:
            RefusedInUIError: these are partitions of scopes.
        """
        if is_scopes_definition(name):
            raise RefusedInUIError(
                f"{keys[0]!r} was not added: scopes are those of the application, and a sensor adds new ones "
                "within a minute. Add it there."
            )
