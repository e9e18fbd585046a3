"""How Dagster runs an export: ops, IO managers, assets, partitions, schedules, sensors."""
