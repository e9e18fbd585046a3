"""Imported by the process that fork servers are forked from: it reads the datasets once for all tests."""

import functools
import gc

import export_pipeline.api.inline_preload  # noqa: F401
from export_pipeline.api import inline_worker

inline_worker.load_datasets = functools.cache(inline_worker.load_datasets)
inline_worker.load_datasets()
gc.freeze()
