"""A sample archive of provenance: enrolled works, proofs of them, and a ledger of fees.

A museum uses it and a gallery has just joined. An enrolment records that a member claims a work. A
proof anchors the work's hash where nobody can change it. The ledger is double-entry and append-only: a
mistake is never corrected but reversed by new entries. Everything is generated from a seed, so the content is
always the same.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from export_pipeline.demo.filling import Moment, Row, Uuid, refill, uuid_of

METADATA = sa.MetaData()


def _table(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, METADATA, sa.Column("id", Uuid, primary_key=True), *columns)


def _to(name: str, table: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, Uuid, sa.ForeignKey(f"{table}.id"), index=True, **options)


ORGANISATIONS = _table("archive_organisations", sa.Column("name", sa.String(200), nullable=False))
MEMBERS = _table(
    "archive_members", _to("organisation_id", "archive_organisations", nullable=False),
    sa.Column("display_name", sa.String(200), nullable=False), sa.Column("email", sa.String(255), nullable=False),
)  # fmt: skip
ENROLLMENTS = _table(
    "archive_enrollments", _to("organisation_id", "archive_organisations", nullable=False),
    _to("member_id", "archive_members"),
    sa.Column("title", sa.Text, nullable=False), sa.Column("creator", sa.Text),
    sa.Column("media_type", sa.String(100), nullable=False), sa.Column("byte_size", sa.BigInteger),
    sa.Column("content_sha256", sa.String(64), nullable=False), sa.Column("status", sa.String(20), nullable=False),
    sa.Column("details", sa.JSON(none_as_null=True)), sa.Column("source_url", sa.Text),
    sa.Column("created_on", sa.Date), sa.Column("enrolled_at", Moment, nullable=False),
    sa.Column("revoked_at", Moment), sa.Column("deleted_at", Moment),
)  # fmt: skip
PROOFS = _table(
    "archive_proofs", _to("enrollment_id", "archive_enrollments", nullable=False),
    sa.Column("algorithm", sa.String(20), nullable=False), sa.Column("hash", sa.String(128), nullable=False),
    sa.Column("merkle_root", sa.String(64)), sa.Column("log_name", sa.String(100)),
    sa.Column("log_index", sa.BigInteger), sa.Column("status", sa.String(20), nullable=False),
    sa.Column("requested_at", Moment, nullable=False), sa.Column("anchored_at", Moment),
    sa.Column("verified_at", Moment),
)  # fmt: skip
LEDGER_ACCOUNTS = _table(
    "archive_ledger_accounts", sa.Column("code", sa.String(10), nullable=False, unique=True),
    sa.Column("name", sa.String(100), nullable=False),
)  # fmt: skip
LEDGER = sa.Table(
    "archive_ledger_entries", METADATA,
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    _to("organisation_id", "archive_organisations", nullable=False),
    sa.Column("transaction_id", Uuid, nullable=False),
    _to("account_id", "archive_ledger_accounts", nullable=False),
    _to("enrollment_id", "archive_enrollments"),
    sa.Column("reverses", sa.BigInteger), sa.Column("description", sa.Text),
    sa.Column("currency", sa.String(3), nullable=False),
    # Exactly one of the two; never negative.
    sa.Column("debit", sa.Numeric(18, 4)), sa.Column("credit", sa.Numeric(18, 4)),
    sa.Column("value_date", sa.Date, nullable=False), sa.Column("posted_at", Moment, nullable=False),
    sa.Column("entry_hash", sa.String(64), nullable=False),
)  # fmt: skip

MUSEUM, JOINED, ODD = (uuid_of("organisation", name) for name in ("museum", "joined", "studio"))
"""Ids of the organisations; the last one exists only in tests."""

_WORKS = (
    ("Harbour at dusk", "image/tiff"), ("Field recording 14, marsh", "audio/flac"), ("Interview with a boat builder, part 2", "video/mp4"),
    ("Map of the old town", "image/jpeg"), ("Letters 1911–1914", "application/pdf"), ("Fishermen mending nets", "image/tiff"),
    ("Town council minutes 1932", "application/pdf"), ("Bell tower, north face", "image/jpeg"), ("Harvest songs", "audio/flac"),
    ("The flood of 1953", "video/mp4"), ("Portrait of a lace maker", "image/tiff"), ("Shipyard plans, sheet 3", "image/tiff"),
    ("School register 1889", "application/pdf"), ("Market square in winter", "image/jpeg"), ("Lighthouse log", "application/pdf"),
)  # fmt: skip
_PEOPLE = ("Ingrid Solberg", "Tomás Herrera", "Aiko Tanaka")
_CREATORS = (
    "Elias Brandt",
    "Maud Penrose",
    "Jean-Luc Moreau",
    "Unknown",
    "Sofia Lindqvist",
    "Municipal archive",
)
_DETAILS: tuple[Any, ...] = (
    {"camera": "Hasselblad 500 C", "iso": 400, "tags": ["harbour", "evening"]}, None,
    {"pages": 48, "language": "en"}, {"format": "glass plate", "restored": True},
)  # fmt: skip
# Each clock change in Berlin: the last moment before it, the repeated hour, the end of a year.
_MOMENTS = (
    datetime(2026, 3, 29, 0, 59, 59, 999999, UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 30, tzinfo=UTC),
)  # fmt: skip
_FEES = ("12.5000", "35.0000", "99.9900", "18.7500", "240.0000")
_ODD_FEES = ("12.5000", "0.0001", "99.9900", "1234.5678", "10000000000.0001")


def fill(engine: sa.Engine, odd_texts: Sequence[str] = ()) -> None:
    """Recreate and fill the tables.

    Args:
        odd_texts: Texts for the works of one more organisation, which also gets extreme sizes and fees.
    """
    chance = random.Random(2)
    people = {MUSEUM: _PEOPLE, ODD: odd_texts[:3]}
    works = [_enrollment(chance, MUSEUM, i, *_WORKS[i % len(_WORKS)], _PEOPLE, _CREATORS) for i in range(110)]
    works += [
        _enrollment(chance, ODD, i, text, "text/plain", odd_texts[:3], odd_texts)
        for i, text in enumerate([*odd_texts, *odd_texts])
    ]
    organisations = [
        {"id": MUSEUM, "name": "Harbour Town Museum"},
        {"id": JOINED, "name": "Riverside Gallery (joined today)"},
    ]
    if odd_texts:
        organisations.append({"id": ODD, "name": odd_texts[0]})
    refill(engine, METADATA, {
        ORGANISATIONS: organisations,
        MEMBERS: [
            {"id": uuid_of("member", o, name), "organisation_id": o, "display_name": name, "email": f"archive{i}@example.org"}
            for o, names in people.items()
            for i, name in enumerate(names, 1)
        ],
        ENROLLMENTS: works,
        PROOFS: [proof for i, work in enumerate(works) for proof in _proofs(chance, i, work)],
        LEDGER_ACCOUNTS: [
            {"id": uuid_of("ledger", code), "code": code, "name": name}
            for code, name in (("1200", "Receivables"), ("4000", "Enrolment fees"), ("4100", "Anchoring"))
        ],
        LEDGER: _ledger(works),
    })  # fmt: skip


def _moment(chance: random.Random, number: int) -> datetime:
    if number % 8 == 0:
        return _MOMENTS[number // 8 % len(_MOMENTS)]
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(
        minutes=chance.randrange(470_000), microseconds=number
    )


def _enrollment(
    chance: random.Random, organisation: str, number: int, title: str, media_type: str,
    people: Sequence[str], creators: Sequence[str],
) -> Row:  # fmt: skip
    at = _moment(chance, number)
    revoked = number % 13 == 12
    odd = organisation == ODD
    size = (0, 4096, 2**63 - 1)[number % 3] if odd else chance.randrange(200_000, 900_000_000)
    details = ([1, 2.5, None], {"camera": 'x"y'}, {}, None)[number % 4] if odd else _DETAILS[number % 4]
    return {
        "id": uuid_of("enrollment", organisation, number), "organisation_id": organisation,
        "member_id": None if number % 10 == 9 else uuid_of("member", organisation, people[number % 3]),
        "title": title, "creator": None if number % 8 == 7 else creators[number % len(creators)],
        "media_type": media_type, "byte_size": None if number % 9 == 8 else size,
        "content_sha256": hashlib.sha256(f"{organisation}{number}".encode()).hexdigest(),
        "status": "REVOKED" if revoked else ("ENROLLED", "ENROLLED", "PENDING")[number % 3],
        "details": details,
        "source_url": f"https://example.org/works/{number}{'?q=a b' if odd else ''}" if number % 5 else None,
        "created_on": date(1900 + number, 1 + number % 12, 28) if number % 6 else None, "enrolled_at": at,
        "revoked_at": at + timedelta(days=3) if revoked else None,
        "deleted_at": at + timedelta(days=9) if number % 16 == 15 else None,
    }  # fmt: skip


def _proofs(chance: random.Random, number: int, enrollment: Row) -> list[Row]:
    rows = []
    for i, algorithm in enumerate(("sha256", "sha3-512", "blake2b")[: number % 4]):
        asked = enrollment["enrolled_at"] + timedelta(seconds=30 * i)
        anchored = None if (number + i) % 5 == 4 else asked + timedelta(minutes=chance.randrange(1, 600))
        digest = hashlib.new(
            {"sha3-512": "sha3_512"}.get(algorithm, algorithm), enrollment["id"].encode()
        ).hexdigest()
        rows.append({
            "id": uuid_of("proof", enrollment["id"], algorithm), "enrollment_id": enrollment["id"],
            "algorithm": algorithm, "hash": digest, "merkle_root": digest[:64] if anchored else None,
            "log_name": "Public log 1" if anchored else None, "log_index": 2**40 + number * 3 + i if anchored else None,
            "status": "ANCHORED" if anchored else ("PENDING", "FAILED")[number % 2],
            "requested_at": asked, "anchored_at": anchored,
            "verified_at": anchored + timedelta(hours=1) if anchored and i == 0 else None,
        })  # fmt: skip
    return rows


def _ledger(enrollments: list[Row]) -> list[Row]:
    """Return a fee for each work: one debit, one or two credits of the same sum; some are reversed later."""
    rows: list[Row] = []

    def post(
        work: Row, sides: list[tuple[str, Decimal, bool]], text: str | None, reverses: int | None = None
    ) -> int:
        first = len(rows) + 1
        at = work["enrolled_at"] + timedelta(days=5 if reverses else 0)
        for i, (code, amount, is_debit) in enumerate(sides):
            before = rows[-1]["entry_hash"] if rows else ""
            rows.append({
                "sequence": first + i, "organisation_id": work["organisation_id"],
                "transaction_id": uuid_of("transaction", first), "account_id": uuid_of("ledger", code),
                "enrollment_id": work["id"], "reverses": reverses + i if reverses else None, "description": text,
                "currency": "EUR", "debit": amount if is_debit else None, "credit": None if is_debit else amount,
                "value_date": at.date(), "posted_at": at,
                "entry_hash": hashlib.sha256(f"{before}{first + i}{code}{amount}".encode()).hexdigest(),
            })  # fmt: skip
        return first

    for i, work in enumerate(enrollments):
        odd = work["organisation_id"] == ODD
        fee = Decimal((_ODD_FEES if odd else _FEES)[i % len(_FEES)])
        part = (fee / 4).quantize(Decimal("0.0001"))
        sides = [("1200", fee, True), ("4000", fee - part, False), ("4100", part, False)]
        first = post(
            work, sides, None if i % 7 == 6 else work["title"] if odd else f"Enrolment of {work['title']}"
        )
        if work["revoked_at"]:
            post(work, [(code, amount, not debit) for code, amount, debit in sides], "Reversal", first)
    return rows
