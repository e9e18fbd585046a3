"""Texts that no index of PostgreSQL takes are refused in words, on both databases alike."""

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger, LedgerError
from export_pipeline.schedules.due_requests import claim_due
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.schedules.scheduling import DAY, START, insert

LONGEST = "項" * 666 + "xx"  # 2,000 bytes that cannot be made much shorter


@pytest.mark.parametrize("column", ["scope", "requested_by", "window_key"])
def test_a_request_with_a_text_too_long_is_refused_with_the_reason(database: Database, column: str) -> None:
    sql = f"INSERT INTO export_jobs (dataset, format, {column}) VALUES ('t', 'csv', ?)"
    database.run(sql, LONGEST)
    with pytest.raises(database.error, match=rf"{column} of a row of export_jobs .* at most 2,000 bytes"):
        database.run(sql, LONGEST + "x")
    with pytest.raises(database.error, match=rf"{column} of a row of export_jobs .* at most 2,000 bytes"):
        database.run(f"UPDATE export_jobs SET {column} = ?", "x" * 10_000)


@pytest.mark.parametrize("table", ["export_jobs", "scheduled_exports"])
@pytest.mark.parametrize(
    "column", ["filters", "columns", "options", "recipients", "dataset", "format", "timezone"]
)
def test_everything_that_an_application_writes_has_a_size(
    database: Database, table: str, column: str
) -> None:
    if (table, column) == ("export_jobs", "timezone"):
        return
    most, (begin, end) = (
        500_000,
        {"filters": '{"":""}', "options": '{"":""}'}.get(column, '[""]').rsplit('"', 1),
    )
    begin, end = begin[:-1] + '"', '"' + end
    if column in ("dataset", "format", "timezone"):
        most, begin, end = 200, "", ""
    row = {"dataset": "t", "format": "csv"} | ({"cadence": "daily"} if table == "scheduled_exports" else {})
    for size, taken in ((most - 10, True), (most + 10, False)):
        row[column] = begin + "x" * (size - len(begin + end)) + end
        sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        if taken:
            database.run(sql, *row.values())
        else:
            with pytest.raises(
                database.error, match=f"{column} of a row of {table} is too long: .* at most {most:,}"
            ):
                database.run(sql, *row.values())
            with pytest.raises(database.error, match=f"{column} of a row of {table} is too long"):
                database.run(f"UPDATE {table} SET {column} = ?", row[column])


def test_the_error_about_a_long_value_names_its_limit(ledger: Ledger) -> None:
    assert ledger.request("t", "csv", scope=LONGEST).scope == LONGEST
    with pytest.raises(LedgerError, match="scope of a row of export_jobs is too long: it has at most 2,000"):
        ledger.request("t", "csv", scope="x" * 3_000)


@pytest.mark.parametrize("column", ["scope", "owner"])
def test_no_schedule_asks_for_what_no_request_can_hold(
    database: Database, engine: sa.Engine, column: str
) -> None:
    insert(database, **{column: LONGEST})
    assert len(claim_due(engine, START + DAY, 10)) == 1
    with pytest.raises(database.error, match=f"{column} of a row of scheduled_exports is too long"):
        insert(database, **{column: LONGEST + "x"})
