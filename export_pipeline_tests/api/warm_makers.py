"""Imported by the process that parents of makers are forked from: it reads the datasets once for all tests."""

import functools
import gc

import export_pipeline.api.inline_preload  # noqa: F401
from export_pipeline.api import makers

makers.load_datasets = functools.cache(makers.load_datasets)
makers.load_datasets()
gc.freeze()
