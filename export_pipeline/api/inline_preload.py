"""Imported by the process from which the makers of small exports are forked, so that they begin warm."""

from contextlib import suppress

from export_pipeline.api.inline_work import warm_datasets

with suppress(Exception):  # a wrong defs.yaml is reported by the service itself
    warm_datasets()
