"""Whoever owns a schedule that cannot be run is told so, once."""

from datetime import UTC, datetime, timedelta

from export_pipeline.schedules.due_requests import claim_due
from export_pipeline_tests.delivery.exports import Exports
from export_pipeline_tests.delivery.mail_server import MailServer


def test_the_owner_of_a_broken_schedule_gets_one_notice(exports: Exports, server: MailServer) -> None:
    insert = (
        "INSERT INTO scheduled_exports (dataset, format, scope, cadence, timezone, owner, recipients) "
        "VALUES ('records', 'csv', 'a', 'weekly', 'Berlin', 'owner@example.org', '[\"ben@example.org\"]') "
        "RETURNING id"
    )
    ((schedule,),) = exports.database.run(insert)
    now = datetime(2026, 1, 5, 12, tzinfo=UTC)
    for minutes in range(3):
        assert claim_due(exports.engine, now + timedelta(minutes=minutes), 10) == []
        exports.deliver()
        exports.database.run("UPDATE scheduled_exports SET active = ?", True)
    assert server.received == {"owner@example.org": 1}
    mail = server.to("owner@example.org")
    assert mail["Subject"] == "Export failed: records"
    text = " ".join(mail.get_body(("plain",)).get_content().split())  # type: ignore[union-attr]
    assert f"Schedule {schedule} (weekly) cannot be run and was set inactive: timezone: 'Berlin'" in text
    assert "schedule_broken" in text
