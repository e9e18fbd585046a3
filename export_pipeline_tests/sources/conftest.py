"""Fixtures of takeoff applications on each kind of database."""

from export_pipeline_tests.sources.fixtures import (  # noqa: F401
    application,
    postgres_application,
    postgres_session_url,
    sqlite_application,
)
