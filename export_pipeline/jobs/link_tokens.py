"""Links to export files without a login: tokens of 160 random bits, of which only the SHA-256 is stored."""

from __future__ import annotations

import hashlib
import re
import secrets as random
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.tables import jobs, links

_TOKEN = re.compile(r"[A-Za-z0-9_-]{27}")


@dataclass(frozen=True, slots=True)
class Link:
    """A link to the file of a job, without its token.

    Attributes:
        expires_at: Time after which it is dead; None if it lives as long as the file.
        max_uses: Maximum number of downloads; None for any number.
        uses: Downloads so far.
    """

    id: str
    job_id: str
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    max_uses: int | None
    uses: int
    used_at: datetime | None
    revoked_at: datetime | None


_COLUMNS = [links.c[name] for name in Link.__slots__]


def create_link(
    engine: sa.Engine,
    job_id: str,
    *,
    expires_at: datetime | None = None,
    max_uses: int | None = None,
    created_by: str | None = None,
) -> tuple[Link, str]:
    """Create a link to a job's file, which need not exist yet. Return it with its token."""
    token = random.token_urlsafe(20)
    values = {"job_id": job_id, "expires_at": expires_at, "max_uses": max_uses, "created_by": created_by}
    insert = sa.insert(links).values(token_sha256=_digest(token), **values).returning(*_COLUMNS)
    with transaction(engine, write=True) as connection:
        return Link(**connection.execute(insert).mappings().one()), token


def link_address(api_url: str, token: str) -> str:
    """Return the address of a link, given the public address of the HTTP service."""
    return f"{api_url}/d/{token}"


def list_links(engine: sa.Engine, job_id: str) -> list[Link]:
    """Return the links to a job's file, newest first."""
    select = sa.select(*_COLUMNS).where(links.c.job_id == job_id).order_by(links.c.created_at.desc())
    with transaction(engine, write=False) as connection:
        return [Link(**row) for row in connection.execute(select).mappings()]


def revoke_link(engine: sa.Engine, job_id: str, link_id: str) -> bool:
    """Revoke a link for good. Return False if the job has no such link."""
    update = sa.update(links).where(links.c.job_id == job_id, sa.cast(links.c.id, sa.Text) == link_id)
    update = update.values(revoked_at=sa.func.coalesce(links.c.revoked_at, utc_now()))
    with transaction(engine, write=True) as connection:
        return connection.execute(update).rowcount > 0


def open_link(engine: sa.Engine, token: str) -> tuple[Link, Job, bool] | None:
    """Return the link of a token, its job, and whether it is alive. None for an unknown token.

    A link is dead if it was revoked, has expired or is used up. A deleted job counts as unknown.
    """
    if _TOKEN.fullmatch(token) is None:
        return None
    alive = sa.and_(
        links.c.revoked_at.is_(None),
        sa.or_(links.c.expires_at.is_(None), links.c.expires_at > utc_now()),
        sa.or_(links.c.max_uses.is_(None), links.c.uses < links.c.max_uses),
    )
    with transaction(engine, write=False) as connection:
        row = connection.execute(
            sa.select(*_COLUMNS, alive.label("alive")).where(links.c.token_sha256 == _digest(token))
        ).one_or_none()
        if row is None:
            return None
        *values, is_alive = row
        link = Link(*values)
        select = sa.select(jobs).where(jobs.c.id == link.job_id, jobs.c.deleted_at.is_(None))
        job = connection.execute(select).mappings().one_or_none()
    return None if job is None else (link, Job.of(job), bool(is_alive))


def count_use(engine: sa.Engine, link: Link) -> bool:
    """Count a download. Return False if the link is used up or was revoked meanwhile."""
    update = (
        sa.update(links)
        .where(
            links.c.id == link.id,
            links.c.revoked_at.is_(None),
            sa.or_(links.c.max_uses.is_(None), links.c.uses < links.c.max_uses),
        )
        .values(uses=links.c.uses + 1, used_at=utc_now())
    )
    with transaction(engine, write=True) as connection:
        return connection.execute(update).rowcount > 0


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
