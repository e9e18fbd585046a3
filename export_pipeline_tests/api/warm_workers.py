"""Imported by the process that fork servers are forked from: it reads the datasets once for all tests."""

import functools
import gc

import export_pipeline.api.inline_preload  # noqa: F401
from export_pipeline.api import inline_worker
from export_pipeline.datasets.loading import load_datasets

inline_worker.load_datasets = functools.cache(load_datasets)  # type: ignore[attr-defined]
inline_worker.load_datasets()  # type: ignore[attr-defined]
gc.freeze()
