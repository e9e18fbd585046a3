"""Mails without a mail server: the ledger knows them, and they are sent once there is one."""

from __future__ import annotations

from typing import Any

from export_pipeline.delivery.enqueue import waiting_jobs, waiting_recipients
from export_pipeline.jobs import Job
from export_pipeline_tests.delivery.exports import Exports
from export_pipeline_tests.delivery.mail_server import MailServer


def waiting(exports: Exports, **changed: Any) -> list[str]:
    """The ids of jobs whose mails nobody sends."""
    settings = exports.settings.model_copy(update={"smtp_url": None} | changed)
    jobs = waiting_jobs(exports.engine, settings.mail_domains)
    assert all(waiting_recipients(job, settings) for job in jobs)
    return [job.id for job in jobs]


def test_they_wait_for_a_server_and_then_go_out(exports: Exports, server: MailServer) -> None:
    done = exports.completed(["Ann <ann@example.org>", "ben@example.org"])
    failed = exports.failed(["ann@example.org"], requested_by="owner@example.org")
    assert waiting(exports) == [done.id, failed.id]
    without = exports.settings.model_copy(update={"smtp_url": None})
    assert waiting_recipients(done, without) == ["ann@example.org", "ben@example.org"]
    assert waiting_recipients(failed, without) == ["owner@example.org"]
    assert waiting_recipients(done, exports.settings) == []
    assert exports.deliver().sent == 3
    assert waiting(exports) == []
    assert set(server.received) == {"ann@example.org", "ben@example.org", "owner@example.org"}


def test_mails_that_are_never_sent_are_not_waited_for(exports: Exports) -> None:
    without = exports.settings.model_copy(update={"smtp_url": None})

    def never(job: Job, **changed: Any) -> None:
        assert waiting_recipients(job, without.model_copy(update=changed)) == []
        assert waiting(exports, **changed) == []

    never(exports.completed([]))
    never(exports.failed([], requested_by="owner@example.org"))
    never(exports.completed(["ann@example.org"], rows=0, options={"empty": "skip"}))
    never(exports.completed(["ann@example.org"]), mail_domains=("example.com",))


def test_a_week_later_they_are_old_news(exports: Exports) -> None:
    job = exports.completed(["ann@example.org"])
    assert waiting(exports) == [job.id]
    exports.database.age("completed_at", 8 * 24 * 3600)
    assert waiting(exports) == []
