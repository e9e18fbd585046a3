"""The datasets that defs.yaml files declare, and the checks of what may be asked of them; without Dagster."""
