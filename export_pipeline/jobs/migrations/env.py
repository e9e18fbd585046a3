"""Entry point for Alembic: runs the migrations on the given connection, within its transaction."""

from __future__ import annotations

from alembic import context

from export_pipeline.jobs.migrate import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
