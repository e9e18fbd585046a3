"""Who is to get a mail about a job that has ended, and who may not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from export_pipeline.delivery.addresses import Address, one_line, parse_address
from export_pipeline.jobs import Job, Status
from export_pipeline.schedules.cadences import CadenceWindow

Kind = Literal["file", "failure"]

_LENGTH = 320  # of what is kept of a recipient that is none


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who is to get a mail.

    Attributes:
        spec: The bare address; what was written in its place where that is none.
        status: pending; refused or skipped where no mail may or need be sent.
        reason: Why not.
    """

    spec: str
    status: Literal["pending", "refused", "skipped"] = "pending"
    reason: str | None = None


def kind_of(job: Job) -> Kind:
    """What an ended job's mail brings."""
    return "failure" if job.status is Status.FAILED else "file"


def recipients_of(job: Job, domains: Collection[str], empty: str) -> list[Recipient]:
    """The recipients of an ended job's mail, each mailbox once; never none at all.

    Args:
        domains: Where mails may go; empty for everywhere.
        empty: What its schedule does about an export without rows: send, skip or say.
    """
    found: dict[str, Recipient] = {}
    for text in _asked(job):
        try:
            address = parse_address(text)
        except ValueError as error:
            spec = one_line(str(text), _LENGTH)
            found.setdefault(spec, Recipient(spec, "refused", f"{spec!r} {error}"))
            continue
        recipient = Recipient(address.spec)
        if domains and address.domain not in domains:
            allowed = ", ".join(sorted(domains))
            reason = f"mails go to {allowed} only (EXPORT_MAIL_DOMAINS), not to {address.domain}"
            recipient = Recipient(address.spec, "refused", reason)
        elif job.status is Status.COMPLETED and job.row_count == 0 and empty == "skip":
            recipient = Recipient(address.spec, "skipped", "there were no rows, and the schedule skips those")
        found.setdefault(address.mailbox, recipient)
    return list(found.values()) or [Recipient("", "skipped", "nobody to tell")]


def named(job: Job, spec: str) -> Address:
    """The address that a job's mail goes to, with the name that the job gives it."""
    for text in _asked(job):
        try:
            address = parse_address(text)
        except ValueError:
            continue
        if address.spec == spec:
            return address
    return parse_address(spec)


def _asked(job: Job) -> Iterator[object]:
    """Whom the job names, in order; of a failure its owners alone, if it has some that are addresses."""
    if job.status is Status.FAILED:
        owners = [text for text in _owners(job) if _is_address(text)]
        if owners:
            yield from owners
            return
    yield from job.recipients


def _owners(job: Job) -> list[object]:
    """Of a window of a cadence its dataset's owners; of everything else who asked for it."""
    if CadenceWindow.of(job) is None:
        return [job.requested_by]
    owners = job.options.get("owners")
    return list(owners) if isinstance(owners, list) else []


def _is_address(text: object) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True
