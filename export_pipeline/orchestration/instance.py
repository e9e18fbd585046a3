"""The Dagster instance of this deployment: on SQLite, or on PostgreSQL where DAGSTER_POSTGRES_URL is set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]


def prepare_home() -> Path:
    """Point DAGSTER_HOME at a folder with the dagster.yaml that fits, and return it.

    dagster.yaml cannot choose its storage by itself: there are two files, and this puts the right one in place.
    A dagster.yaml of somebody's own in DAGSTER_HOME is left alone.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or Path.cwd() / ".dagster_home").absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    url = os.environ.get("DAGSTER_POSTGRES_URL")
    if url and url.startswith(("postgresql://", "postgres://")):
        # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3, whose parameters Dagster's NOTIFY cannot use.
        os.environ["DAGSTER_POSTGRES_URL"] = f"postgresql+psycopg2://{url.partition('://')[2]}"
    ours = ROOT / "deploy" / "dagster-postgres.yaml" if url else ROOT / "dagster.yaml"
    target = home / "dagster.yaml"
    if not target.exists() or target.read_text() in _shipped():
        shutil.copyfile(ours, target)
    return home


def _shipped() -> set[str]:
    return {file.read_text() for file in (ROOT / "dagster.yaml", ROOT / "deploy" / "dagster-postgres.yaml")}
