"""Imports the drivers of databases and stores early, so that forked processes share their memory."""

from __future__ import annotations

from importlib import import_module

from export_pipeline.settings import Settings
from export_pipeline.store import s3_client


def load_drivers(settings: Settings) -> None:
    """Import what the first use of the servers in the settings would import. Opens no connection."""
    if any(url.startswith("postgresql") for url in (settings.source_url, settings.jobs_url)):
        for driver in ("psycopg2", "adbc_driver_manager", "adbc_driver_postgresql"):
            import_module(driver)
    if settings.store_url.startswith("s3:"):
        import_module("export_pipeline.store.s3")
        s3_client.preload()
