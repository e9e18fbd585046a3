"""The Dagster side of an export: ops, IO managers, assets, partitions, schedules, sensors."""
