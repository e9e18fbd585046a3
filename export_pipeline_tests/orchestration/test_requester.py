"""Guarded columns are for whom the record names: no option, config or shared run opens them for anybody else."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from export_pipeline.components.loading import datasets
from export_pipeline.datasets.options import OptionError
from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Attempt, Ledger, Status
from export_pipeline_tests.datasets.test_schedules import insert as insert_schedule
from export_pipeline_tests.datasets.test_schedules import look, schedule_of
from export_pipeline_tests.orchestration.deployment import Deployment, failures
from export_pipeline_tests.orchestration.requesting import insert, launch, tick

ASKED = {
    "dataset": "records",
    "format": "json",
    "scope": bookkeeping.SHOP,
    "columns": '["id", "order_remark"]',
}


@pytest.fixture
def books(deployment: Deployment, ledger: Ledger) -> Deployment:
    """The deployment with a dataset that has guarded columns, which `owner` may read."""
    engine = sa.create_engine(deployment.source.url)
    bookkeeping.fill(engine)
    engine.dispose()
    return deployment


def remarks(books: Deployment, key: str | None) -> set[str | None]:
    rows = json.loads(books.read(str(key)))
    return {row["order_remark"] for row in (rows["records"] if isinstance(rows, dict) else rows)}


@pytest.mark.slow
@pytest.mark.parametrize("who", ["owner", "stranger", "", None])
def test_the_column_of_the_row_says_who_asks(books: Deployment, ledger: Ledger, who: str | None) -> None:
    id = insert(books, **ASKED, **({} if who is None else {"requested_by": who}))
    (request,) = tick(books)
    assert launch(books, request).success
    assert (len(remarks(books, ledger.get(id).file_key)) > 1) is (who == "owner")


@pytest.mark.slow
@pytest.mark.parametrize("who", [None, "stranger", "owner"])
@pytest.mark.parametrize(
    "options",
    [
        '{"requested_by": "owner"}',
        '{"requested_by": null, "requested_by": "owner"}',
        '{"requested\\u005fby": "owner"}',
        '{"requested_by": null}',
    ],
)
def test_no_option_of_a_row_says_so(books: Deployment, ledger: Ledger, options: str, who: str | None) -> None:
    id = insert(books, **ASKED, options=options, **({} if who is None else {"requested_by": who}))
    assert tick(books) == []
    assert ledger.get(id).error_code == "invalid_options"
    assert "leave it out of the options" in str(ledger.get(id).error_message)
    ledger.retry(id)
    assert tick(books) == []
    assert ledger.get(id).status is Status.FAILED


def test_no_option_of_a_schedule_says_so(books: Deployment) -> None:
    row = {**ASKED, "options": '{"requested_by": "owner"}', "owner": "stranger"}
    id = insert_schedule(books, **row)
    look(books)
    schedule = schedule_of(books, id)
    assert not schedule.active
    assert str(schedule.problem).startswith(
        "requested_by: only the column requested_by of a request, or owner"
    )


@pytest.mark.slow
@pytest.mark.parametrize("who", [None, "stranger"])
def test_no_config_of_a_requests_run_says_so(books: Deployment, ledger: Ledger, who: str | None) -> None:
    """As who may start runs in the UI can change it."""
    id = insert(books, **ASKED, **({} if who is None else {"requested_by": who}))
    (request,) = tick(books)
    assert request.run_config == {}
    config = {
        "ops": {"records_on_demand": {"config": {"requested_by": "owner", "columns": ["order_remark"]}}}
    }
    assert launch(books, request._replace(run_config=config)).success
    assert len(remarks(books, ledger.get(id).file_key)) == 1


@pytest.mark.slow
def test_no_partition_of_a_requests_run_is_of_another_scope(books: Deployment, ledger: Ledger) -> None:
    id = insert(books, dataset="takeoff", format="csv", scope=books.source.scopes[0])
    (request,) = tick(books)
    books.instance.add_dynamic_partitions("takeoff_scopes", list(books.source.scopes))
    result = launch(books, request._replace(partition_key=books.source.scopes[1]))
    assert "with a partition of another scope" in failures(result)["fetch_source"]
    assert ledger.get(id).status is not Status.COMPLETED
    assert books.stored() == set()


@pytest.mark.slow
def test_a_run_is_joined_only_by_who_asked_for_it(books: Deployment, ledger: Ledger) -> None:
    id = insert(books, **ASKED, requested_by="owner")
    assert len(tick(books)) == 1
    ledger.started(Attempt(id, 1, "run"))
    others = [insert(books, **ASKED, requested_by="stranger"), insert(books, **ASKED)]
    again = insert(books, **ASKED, requested_by="owner")
    assert {request.run_key for request in tick(books)} == {f"{other}:1" for other in others}
    assert ledger.get(again).run_id == "run"


def test_no_default_of_a_dataset_says_so() -> None:
    from pydantic import ValidationError

    from export_pipeline.datasets.table import TableModel
    from export_pipeline_tests.defs.exporting import attributes

    with pytest.raises(ValidationError, match="requested_by cannot have a default"):
        TableModel.model_validate(attributes("records") | {"options": {"requested_by": "owner"}})


def test_parts_are_no_default_of_a_dataset_whose_formats_are_one_file() -> None:
    from pydantic import ValidationError

    from export_pipeline.datasets.table import TableModel
    from export_pipeline_tests.defs.exporting import attributes

    parts = {"options": {"parts": {"max_rows": 1000}}}
    with pytest.raises(
        ValidationError, match=r"options\.parts: all its formats are one file; parts are for csv"
    ):
        TableModel.model_validate(attributes("records") | parts | {"formats": ["json", "pdf"]})
    TableModel.model_validate(attributes("records") | parts)


@pytest.mark.parametrize("value", ["owner", {"deep": 1}])
def test_no_option_of_a_member_of_a_bundle_says_so(value: object) -> None:
    bundle = datasets()["archive"]
    with pytest.raises(OptionError, match="requested_by"):
        bundle.typed_options({"enrollments": {"requested_by": value}})
    assert bundle.typed_options({"requested_by": "ann"}) == {"requested_by": "ann"}
