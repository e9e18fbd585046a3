"""Keys of the HTTP service's callers: `exp_<id>_<secret>`, of which only the secret's SHA-256 is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets as random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.database import insert_new, transaction
from export_pipeline.jobs.errors import LedgerError
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.storable_text import is_storable
from export_pipeline.jobs.tables import keys, secrets
from export_pipeline.rights import RIGHTS, Right

_TOKEN = re.compile(r"exp_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NOTED_EVERY = timedelta(minutes=1)
_NOBODY = "0" * 64


class ApiKeyError(LedgerError):
    """Raised when a key cannot be made or does not exist. The message names the cause and the cure."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret.

    Attributes:
        rights: What its callers may do.
        datasets: Datasets that they may use; None for all.
        scopes: Scopes whose rows they may export, None among them for datasets without scopes; None for all.
        acts_for: The person for whom it asks, and whose exports alone it sees; None for a service.
        used_at: Time of its last use, within a minute.
    """

    id: str
    name: str
    rights: Sequence[Right]
    datasets: Sequence[str] | None
    scopes: Sequence[str | None] | None
    acts_for: str | None
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


_COLUMNS = [keys.c[name] for name in Key.__slots__]


def create_key(
    engine: sa.Engine,
    name: str,
    rights: Collection[str],
    *,
    datasets: Sequence[str] | None = None,
    scopes: Sequence[str | None] | None = None,
    acts_for: str | None = None,
    expires_at: datetime | None = None,
    created_by: str | None = None,
) -> tuple[Key, str]:
    """Create a key. Return it with its token, which cannot be shown again.

    Raises:
        LedgerError: a value is invalid, or the database rejects it.
    """
    if unknown := sorted(set(rights) - set(RIGHTS)):
        raise ApiKeyError(f"There is no right {unknown[0]!r}; there are {', '.join(RIGHTS)}.")
    if not rights:
        raise ApiKeyError(f"A key has at least one right; there are {', '.join(RIGHTS)}.")
    values: dict[str, Any] = {
        "name": name,
        "datasets": None if datasets is None else list(datasets),
        "scopes": None if scopes is None else list(scopes),
        "acts_for": acts_for,
    }
    if not name.strip() or not all(map(is_storable, values.values())):
        raise ApiKeyError("A key's name, datasets, scopes and person are texts without NUL characters.")
    secret, key_id = random.token_urlsafe(32), random.token_hex(8)
    values |= {"id": key_id, "secret_sha256": _digest(secret), "rights": sorted(set(rights))}
    values |= {"expires_at": expires_at, "created_by": created_by}
    with transaction(engine, write=True) as connection:
        row = connection.execute(sa.insert(keys).values(**values).returning(*_COLUMNS)).mappings().one()
    return Key(**row), f"exp_{key_id}_{secret}"


def list_keys(engine: sa.Engine) -> list[Key]:
    """Return all keys, newest first."""
    with transaction(engine, write=False) as connection:
        rows = connection.execute(sa.select(*_COLUMNS).order_by(keys.c.created_at.desc(), keys.c.id))
        return [Key(**row) for row in rows.mappings()]


def revoke_key(engine: sa.Engine, key_id: str) -> Key:
    """Revoke a key for good; its requests stay.

    Raises:
        LedgerError: there is no such key.
    """
    return _change(engine, key_id, revoked_at=sa.func.coalesce(keys.c.revoked_at, utc_now()))


def rotate_key(engine: sa.Engine, key_id: str, overlap: timedelta) -> tuple[Key, str]:
    """Give a key a new secret. Return it with its new token.

    Args:
        overlap: Time for which the old secret still works.

    Raises:
        LedgerError: there is no such key.
    """
    secret = random.token_urlsafe(32)
    with transaction(engine, write=False) as connection:
        until = connection.scalars(sa.select(utc_now())).one() + overlap
    old = {"previous_sha256": keys.c.secret_sha256, "previous_until": until}
    key = _change(engine, key_id, secret_sha256=_digest(secret), **old)
    return key, f"exp_{key_id}_{secret}"


def authenticate(engine: sa.Engine, token: str) -> Key | None:
    """Return the key of a token, or None if the token is wrong, expired or revoked."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    key_id, digest = match[1], _digest(match[2])
    select = sa.select(keys, utc_now().label("now")).where(keys.c.id == key_id)
    with transaction(engine, write=False) as connection:
        row = connection.execute(select).mappings().one_or_none()
    if row is None:
        return None
    now: datetime = row["now"]
    is_current = hmac.compare_digest(digest, row["secret_sha256"])
    is_previous = hmac.compare_digest(digest, row["previous_sha256"] or _NOBODY)
    if not (is_current or (is_previous and row["previous_until"] > now)):
        return None
    key = Key(**{name: row[name] for name in Key.__slots__})
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return None
    if key.used_at is None or key.used_at < now - _NOTED_EVERY:
        with transaction(engine, write=True) as connection:
            connection.execute(sa.update(keys).where(keys.c.id == key_id).values(used_at=utc_now()))
    return key


def _change(engine: sa.Engine, key_id: str, **values: object) -> Key:
    update = sa.update(keys).where(keys.c.id == key_id).values(**values).returning(*_COLUMNS)
    with transaction(engine, write=True) as connection:
        row = connection.execute(update).mappings().one_or_none()
    if row is None:
        raise ApiKeyError(f"There is no key {key_id!r}; `export-pipeline keys list` shows them.")
    return Key(**row)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def signing_secret(engine: sa.Engine, name: str) -> bytes:
    """Return the secret of this name, the same in every process; it is made when it is first needed."""
    with transaction(engine, write=True) as connection:
        new = insert_new(connection, secrets, "name").values(name=name, secret=random.token_hex(32))
        connection.execute(new)
        secret = connection.scalars(sa.select(secrets.c.secret).where(secrets.c.name == name)).one()
    return bytes.fromhex(secret)
