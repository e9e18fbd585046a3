"""Sends the mails that are due. Any number of senders may run at once."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from export_pipeline.delivery import queue
from export_pipeline.delivery.addresses import Address, parse_address
from export_pipeline.delivery.contents import Contents, GoneError, failure_contents, file_contents
from export_pipeline.delivery.enqueue import enqueue_mails
from export_pipeline.delivery.mail_files import jobs_of_mail
from export_pipeline.delivery.messages import add_recipient, render_message
from export_pipeline.delivery.recipients import address_of
from export_pipeline.delivery.smtp import (
    AnswerLostError,
    Connection,
    RejectedError,
    ServerError,
    TemporaryError,
    TooLargeError,
    parse_smtp_url,
)
from export_pipeline.delivery.subscriptions import is_unsubscribed, subscription_of
from export_pipeline.jobs import Job, LedgerUnavailableError, Status
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.link_tokens import create_link, link_address
from export_pipeline.redaction import RedactedError
from export_pipeline.schedules.cadence_requests import failed_formats
from export_pipeline.store import Store, StoreError

if TYPE_CHECKING:
    from export_pipeline.settings import Settings

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)

_TEXT_BYTES = 65_536  # upper bound for all parts of a mail except its attachment
_LEDGER_WAITS = (0.5, 1, 2, 4, 8, 16)  # seconds; enough for a restart of the database


class MailSettingsError(RedactedError):
    """Raised when the settings do not allow mails; the message names the variable."""


@dataclass(slots=True)
class Counts:
    """Numbers of mails by result of one call.

    Attributes:
        sent: Accepted by the server.
        postponed: Scheduled for a later try.
        failed: Failed for good; the row has the reason.
        refused: Not tried, as the recipient is invalid or outside the allowed domains.
        skipped: Not needed: no rows, no recipients, or a newer attempt of the job.
        unknown: Perhaps delivered; an operator must decide.
        problem: Reason why the call ended early, for people; None if it did not. No mail fails for it.
    """

    sent: int = 0
    postponed: int = 0
    failed: int = 0
    refused: int = 0
    skipped: int = 0
    unknown: int = 0
    problem: str | None = None


def deliver_due(
    engine: sa.Engine, store: Store, settings: Settings, limit: int = 100, until: float = math.inf
) -> Counts:
    """Send the due mails about completed and failed jobs. Call it every few seconds.

    Args:
        engine: Engine of the ledger's database.
        store: The store of the files.
        settings: Server, sender, allowed domains and limits.
        limit: Maximum number of mails, so that a call does not take too long.
        until: Time of `time.monotonic` after which no further mail is started.

    Raises:
        MailSettingsError: EXPORT_SMTP_URL or EXPORT_MAIL_FROM is not set.
        LedgerError: the ledger cannot be read or written.
    """
    if settings.smtp_url is None or settings.mail_from is None:
        missing = "EXPORT_SMTP_URL" if settings.smtp_url is None else "EXPORT_MAIL_FROM"
        raise MailSettingsError(f"{missing} is not set, so no mail can be sent; docs/operating.md shows how.")
    sender = parse_address(settings.mail_from)
    counts = Counts()
    enrolled = enqueue_mails(engine, settings.mail_domains, sender.domain, limit)
    counts.refused, counts.skipped = enrolled.get("refused", 0), enrolled.get("skipped", 0)
    counts.unknown = queue.recover_mails(engine)
    with Connection(parse_smtp_url(settings.smtp_url), sender) as connection:
        postman = _Sender(engine, store, settings, sender, connection, counts)
        for _ in range(limit):
            claimed = queue.claim_mail(engine) if time.monotonic() < until else None
            if claimed is None or not postman.deliver(*claimed):
                break
    return counts


@dataclass(slots=True)
class _Sender:
    """Sends the mails of one call."""

    engine: sa.Engine
    store: Store
    settings: Settings
    sender: Address
    connection: Connection
    counts: Counts
    _contents: tuple[tuple[object, ...], Contents] | None = field(default=None)

    def deliver(self, mail: queue.Mail, job: Job) -> bool:
        """Send one mail and record the result; return False if the server accepts no other mail either."""
        try:
            self._deliver(mail, job)
        except ServerError as error:
            queue.release(self.engine, mail, str(error))
            self.counts.problem = str(error)
            _logger.warning("No mail can be sent: %s", error)
            return False
        except queue.LostClaimError as error:
            _logger.warning("%s", error)
        return True

    def _deliver(self, mail: queue.Mail, job: Job) -> None:
        reason = _skip_reason(mail, job) or self._unsubscribed(mail, job)
        if reason is not None:
            self._end(mail, "skipped", reason)
            return
        try:
            recipient = address_of(job, mail.recipient)
            self._check_domain(recipient)
            answer = self._send(mail, job, recipient)
        except (ValueError, RejectedError, GoneError) as error:
            self._end(mail, "failed", str(error))
        except (TemporaryError, StoreError) as error:
            reason = str(error)
            again = _retry(lambda: queue.schedule_retry(self.engine, mail, reason))
            self._count("postponed" if again else "failed", mail)
        except AnswerLostError as error:
            self._end(mail, "unknown", f"{error}: it may have been delivered")
        else:
            _retry(lambda: queue.mark_sent(self.engine, mail, job, answer))
            self._count("sent", mail)

    def _unsubscribed(self, mail: queue.Mail, job: Job) -> str | None:
        """Return why a mail that was queued before its recipient unsubscribed is not sent."""
        with transaction(self.engine, write=False) as connection:
            gone = is_unsubscribed(connection, job, mail.recipient)
        return "the recipient has unsubscribed" if gone else None

    def _send(self, mail: queue.Mail, job: Job, recipient: Address) -> str:
        def about_to_end() -> None:
            _retry(lambda: queue.mark_sending(self.engine, mail))

        limit = self.settings.mail_attach_bytes
        server_limit = self.connection.max_bytes()
        if server_limit is not None:
            limit = min(limit, server_limit - _TEXT_BYTES)
        whole = add_recipient(self._letter(mail, job, limit), recipient, mail.message_id)
        try:
            return self.connection.send(recipient, whole, before_end=about_to_end)
        except TooLargeError:
            if mail.kind == "failure":
                raise
        whole = add_recipient(self._letter(mail, job, None), recipient, mail.message_id)
        return self.connection.send(recipient, whole, before_end=about_to_end)

    def _letter(self, mail: queue.Mail, job: Job, attach_bytes: int | None) -> bytes:
        """Return the letter of a mail. The files of a job are read once, as its mails follow each other."""
        which = (mail.job_id, mail.attempt, mail.kind, attach_bytes)
        if self._contents is None or self._contents[0] != which:
            if mail.kind == "failure":
                contents = failure_contents(job, failed_formats(self.engine, job))
            else:
                with transaction(self.engine, write=False) as connection:
                    others = jobs_of_mail(connection, job, mail.created_at)[1:]
                failed = failed_formats(self.engine, job) if job.schedule_id is not None else []
                make_link = self._make_link if self.settings.api_url else None
                contents = file_contents(
                    job, self.store, self.settings, attach_bytes, make_link, others, failed
                )
            self._contents = which, contents
        unsubscribe = None
        if mail.kind == "file" and self.settings.api_url and subscription_of(job):
            unsubscribe = f"{self.settings.api_url}/unsubscribe/{mail.id}"
        return render_message(self._contents[1], self.sender, unsubscribe)

    def _make_link(self, job: Job) -> str:
        _, token = create_link(self.engine, job.id, created_by="mail")
        return link_address(self.settings.api_url or "", token)

    def _check_domain(self, recipient: Address) -> None:
        allowed = self.settings.mail_domains
        if allowed and recipient.domain not in allowed:
            raise RejectedError(f"mails go to {', '.join(allowed)} only (EXPORT_MAIL_DOMAINS)")

    def _end(self, mail: queue.Mail, status: queue.MailStatus, reason: str) -> None:
        _retry(lambda: queue.mark_unsent(self.engine, mail, status, reason))
        self._count(status, mail)

    def _count(self, status: str, mail: queue.Mail) -> None:
        setattr(self.counts, status, getattr(self.counts, status) + 1)
        level = logging.INFO if status in ("sent", "skipped") else logging.WARNING
        # Addresses are personal data, so they are not logged; the row has the recipient.
        _logger.log(level, "Mail %s of export job %s: %s", mail.id, mail.job_id, status)


def _skip_reason(mail: queue.Mail, job: Job) -> str | None:
    """Return why a mail need not be sent any more; None if it must be sent."""
    if job.deleted_at is not None:
        return "the job was deleted"
    if mail.kind == "failure" and (job.status is not Status.FAILED or job.attempt != mail.attempt):
        return "a new attempt was started"
    return None


def _retry(write: Callable[[], _T]) -> _T:
    """Record the result of a mail, retrying for half a minute if the database is unavailable."""
    for seconds in _LEDGER_WAITS:
        try:
            return write()
        except LedgerUnavailableError:
            time.sleep(seconds)
    return write()
