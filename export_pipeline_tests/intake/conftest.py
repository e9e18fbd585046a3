from export_pipeline_tests.jobs.fixtures import (  # noqa: F401
    database,
    ledger,
    migrated_postgres_url,
    migrated_sqlite_file,
    postgres_database,
    sqlite_database,
    sqlite_jobs_url,
)
