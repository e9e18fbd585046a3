"""Recipients of the mails about an ended job."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from export_pipeline.delivery.addresses import Address, header_text, parse_address
from export_pipeline.jobs import Job, Status
from export_pipeline.schedules.cadence_requests import CadenceWindow

MailKind = Literal["file", "failure"]

_LENGTH = 320  # maximum length at which an invalid recipient is stored


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient of a mail.

    Attributes:
        spec: The bare address, or the original string if it is not an address.
        status: pending; refused if no mail may be sent, skipped if none need be sent.
        reason: Reason for refused or skipped.
    """

    spec: str
    status: Literal["pending", "refused", "skipped"] = "pending"
    reason: str | None = None


def mail_kind(job: Job) -> MailKind:
    """Return the kind of an ended job's mail."""
    return "failure" if job.status is Status.FAILED else "file"


def recipients_of(job: Job, domains: Collection[str], empty: str) -> list[Recipient]:
    """Return the recipients of an ended job's mail, each mailbox once; the list is never empty.

    Args:
        domains: Allowed domains of recipients; empty for all.
        empty: The schedule's rule for an export without rows: send, skip or say.
    """
    recipients: dict[str, Recipient] = {}
    for text in _addressees(job):
        try:
            address = parse_address(text)
        except ValueError as error:
            spec = header_text(str(text), _LENGTH)
            recipients.setdefault(spec, Recipient(spec, "refused", f"{spec!r} {error}"))
            continue
        recipient = Recipient(address.spec)
        if domains and address.domain not in domains:
            allowed = ", ".join(sorted(domains))
            reason = f"mails go to {allowed} only (EXPORT_MAIL_DOMAINS), not to {address.domain}"
            recipient = Recipient(address.spec, "refused", reason)
        elif job.status is Status.COMPLETED and job.row_count == 0 and empty == "skip":
            recipient = Recipient(address.spec, "skipped", "there were no rows, and the schedule skips those")
        recipients.setdefault(address.mailbox, recipient)
    return list(recipients.values()) or [Recipient("", "skipped", "nobody to tell")]


def address_of(job: Job, spec: str) -> Address:
    """Return the address of a recipient, with the name that the job has for it."""
    for text in _addressees(job):
        try:
            address = parse_address(text)
        except ValueError:
            continue
        if address.spec == spec:
            return address
    return parse_address(spec)


def _addressees(job: Job) -> Iterator[object]:
    """Yield the job's recipients in order; for a failure only its owners, if any has a valid address."""
    if job.status is Status.FAILED:
        owners = [text for text in _owners(job) if _is_address(text)]
        if owners:
            yield from owners
            return
    yield from job.recipients


def _owners(job: Job) -> list[object]:
    """Return the dataset's owners for a job of a cadence's window, else the person who requested the job."""
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
