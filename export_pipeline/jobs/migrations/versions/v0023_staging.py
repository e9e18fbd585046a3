"""Room on the disk of a worker's staging folder, as its leases report it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_COLUMNS = {
    "staging_free": "Free bytes on the disk of its staging folder.",
    "staging_size": "Size of that disk in bytes.",
}


def upgrade() -> None:
    for name, comment in _COLUMNS.items():
        op.add_column("export_leases", sa.Column(name, sa.BigInteger, comment=comment))
