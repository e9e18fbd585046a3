"""The datasets that defs.yaml files declare, and the checks of their requests; without Dagster."""
