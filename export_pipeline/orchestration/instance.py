"""The Dagster instance of this deployment: on SQLite, or on PostgreSQL where DAGSTER_POSTGRES_URL is set."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from export_pipeline.project import shared_file
from export_pipeline.settings import SettingsError


def prepare_home() -> Path:
    """Point DAGSTER_HOME at a folder with the dagster.yaml that fits, and return it.

    dagster.yaml cannot choose its storage by itself: there are two, and this puts the right one in place.
    A dagster.yaml of somebody's own in DAGSTER_HOME, one without our first line, is left alone.

    Raises:
        SettingsError: DAGSTER_POSTGRES_URL is wrong or its database cannot be reached, or Dagster would keep
            its SQLite files in another folder than DAGSTER_HOME.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or Path.cwd() / ".dagster_home").absolute()
    if not os.environ.get("DAGSTER_POSTGRES_URL") and unquote(f"{home}".partition("?")[0]) != f"{home}":
        raise SettingsError(
            f"DAGSTER_HOME: Dagster cannot keep its SQLite files in {home}, as it reads ? and % in the path "
            "as parts of a URL; name a folder without them"
        )
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    url = os.environ.get("DAGSTER_POSTGRES_URL")
    if url and url.startswith(("postgresql://", "postgres://")):
        # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3, whose parameters fail in Dagster's NOTIFY.
        url = os.environ["DAGSTER_POSTGRES_URL"] = f"postgresql+psycopg2://{url.partition('://')[2]}"
    if url:
        _must_connect(url)
    target = home / "dagster.yaml"
    if not target.exists() or target.read_text().startswith(_OURS):
        file = shared_file("dagster-postgres.yaml" if url else "dagster.yaml")
        target.write_text(_OURS + file.read_text())
    return home


def _must_connect(url: str) -> None:
    """Say in a line what Dagster would say in a hundred.

    Raises:
        SettingsError: DAGSTER_POSTGRES_URL is no URL, or its database cannot be reached.
    """
    import sqlalchemy as sa

    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 10})
        engine.connect().close()
    except sa.exc.ArgumentError:
        raise SettingsError(
            "DAGSTER_POSTGRES_URL: is not a database URL such as postgresql://user:password@host:5432/dagster"
        ) from None
    except sa.exc.SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise SettingsError(f"DAGSTER_POSTGRES_URL: the database cannot be reached: {reason}") from error


_OURS = "# Written by export-pipeline at each start; without this line the file is yours and stays.\n"
