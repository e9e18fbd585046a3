"""Measurements read over several connections of one snapshot are those of one select, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.model.export_data import ExportData, Request
from export_pipeline.model.takeoff.options import TakeoffOptions
from export_pipeline.orchestration.staging import load, save
from export_pipeline.sources import takeoff as source
from export_pipeline.sources import takeoff_shares
from export_pipeline.sources.arrow_types import NO_TIME
from export_pipeline.sources.snapshot import Snapshot, open_snapshot
from export_pipeline.sources.takeoff_tables import Measurement
from export_pipeline_tests.takeoff_data import Application


@pytest.fixture
def shared(postgres_application: Application, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setattr(takeoff_shares, "LEAST_ROWS", 10)
    monkeypatch.setattr(takeoff_shares, "WORKERS", 3)
    return postgres_application


def project_of(application: Application, *by_page: int) -> str:
    project = application.project()
    document = application.document(project)
    condition = application.condition(project)
    for number, count in enumerate(by_page):
        page = application.page(document, number)
        for step in range(count):
            application.measurement(condition, page, step + 1.0)
    return project


def fetched(snapshot: Snapshot, project: str, **options: Any) -> ExportData:
    return source.read(snapshot, Request("takeoff", source.MODEL, {}, project, TakeoffOptions(**options)))


def ids(snapshot: Snapshot, data: ExportData) -> list[list[str]]:
    parts = data.tables["measurements"].parts
    return [[id for batch in part() for id in batch["id"].to_pylist()] for part in parts]


@pytest.mark.parametrize(
    ("by_page", "sizes"),
    [
        ((10, 10, 10), [10, 10, 10]),
        ((3,) * 12, [12, 12, 12]),
        ((30, 1, 1), [30, 2]),
        ((1, 1, 30), []),
        ((31,), []),
        ((9,), []),
    ],
)
def test_shares_are_pages_of_about_as_many_measurements(
    shared: Application, by_page: tuple[int, ...], sizes: list[int]
) -> None:
    project = project_of(shared, *by_page)
    project_of(shared, 5, 5)  # another one, whose rows are nobody else's
    with open_snapshot(shared.url) as snapshot:
        data = fetched(snapshot, project)
        whole = [id for batch in data.tables["measurements"].open() for id in batch["id"].to_pylist()]
        found = ids(snapshot, data)
    assert len(whole) == data.source_rows == sum(by_page)
    assert [len(share) for share in found] == sizes
    assert not found or sorted(id for share in found for id in share) == sorted(whole)


def test_every_stage_sees_the_rows_of_all_shares(shared: Application, tmp_path: Path) -> None:
    project = project_of(shared, 12, 15, 18, 7)
    with open_snapshot(shared.url) as snapshot:
        save(fetched(snapshot, project), tmp_path)
    data = load(tmp_path)
    found = data.tables["measurements"].arrow()
    assert found.num_rows == data.source_rows == len(set(found["id"].to_pylist())) == 52
    assert data.source_totals["quantity"] == sum(found["quantity"].to_pylist())
    assert len(data.tables["measurements"].files) == 3


def test_what_is_damaged_in_any_share_is_counted(shared: Application, tmp_path: Path) -> None:
    project = project_of(shared, 12, 15, 18)
    with sa.create_engine(shared.url).begin() as connection:
        connection.execute(sa.update(Measurement).values(created_at=sa.text("'infinity'")))
    with open_snapshot(shared.url) as snapshot:
        data = fetched(snapshot, project)
        save(data, tmp_path)
    assert data.changed == {(NO_TIME, "measurements.created_at"): 45}


def test_sqlite_is_read_by_one_select(sqlite_application: Application) -> None:
    project = project_of(sqlite_application, 2, 3)
    with open_snapshot(sqlite_application.url) as snapshot:
        assert takeoff_shares.shares(snapshot, {"a": 10**6, "b": 10**6}) == []
        assert fetched(snapshot, project).tables["measurements"].parts == ()
