"""A takeoff project is read alike from SQLite and PostgreSQL."""

import random
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from export_pipeline import takeoff
from export_pipeline.core.export_data import Request
from export_pipeline.sources.arrow_types import NO_BOOLEAN, NO_NUMBER, NO_TEXT, NO_TIME
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.takeoff import source
from export_pipeline.takeoff.options import TakeoffOptions as Options
from export_pipeline.takeoff.source_tables import ASSEMBLIES, CONDITIONS, MEASUREMENTS, PAGES
from export_pipeline_tests.takeoff_data import T0, Application, in_memory, rows, uid


def test_order_follows_sort_order_name_id_then_document_page_time_id(application: Application) -> None:
    project = application.project()
    late = application.condition(project, "zeta", sort_order=1)
    second, first = (application.condition(project, name, sort_order=0) for name in ("beta", "Alpha"))
    b, a = application.document(project, "b.pdf"), application.document(project, "a.pdf")
    b1, a2, a1 = application.page(b, 1), application.page(a, 2), application.page(a, 1)
    expected = []
    for condition in (first, second, late):
        for page in (a1, a2, b1):
            same_time = [uid(900_000 + application.next + k) for k in range(2)]
            for id in reversed(same_time):
                application.measurement(condition, page, id=id, created_at=T0 + timedelta(days=1))
            earlier = application.measurement(condition, page, created_at=T0)
            expected += [earlier, *same_time]
    data = application.export(project)
    assert [row["id"] for row in rows(data, "conditions")] == [first, second, late]
    assert [row["id"] for row in rows(data)] == expected


def test_every_stored_value_arrives(application: Application) -> None:
    project = application.project("Ünï 中文", description="a\nb", client_name="<&>\"'", status="completed")
    page = application.page(application.document(project, "d.pdf"), 2**62, sheet_title="T", scale_value=0.1)
    condition = application.condition(project, "C", depth=6.5, color="#010203", is_visible=False)
    quantity = 0.1 + 0.2
    application.measurement(
        condition, page, quantity, notes="007", ai_confidence=1e-17, is_modified=True, review_notes="", unit="=1+1",
        created_at=T0.replace(year=1, microsecond=123456),
    )  # fmt: skip
    data = application.export(project)
    (row,) = rows(data)
    assert (row["quantity"], row["page_number"], row["notes"], row["unit"]) == (
        quantity,
        2**62,
        "007",
        "=1+1",
    )
    assert (row["ai_confidence"], row["review_notes"], row["rejection_reason"]) == (1e-17, "", None)
    assert row["created_at"] == T0.replace(year=1, microsecond=123456)
    assert (row["condition"], row["document"], row["sheet_title"]) == ("C", "d.pdf", "T")
    assert row["review_status"] == "modified"
    assert '"start"' in row["geometry_data"]
    assert data.subject["description"] == "a\nb"
    assert rows(data, "conditions")[0]["depth"] == 6.5


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, {"verified", "unverified"}),
        ({"include_unverified": False}, {"verified"}),
        ({"include_rejected": True}, {"verified", "unverified", "rejected"}),
    ],
)
def test_options_choose_rows_and_totals_follow(
    application: Application, options: dict[str, bool], kept: set[str]
) -> None:
    project = application.project()
    page = application.page(application.document(project))
    condition = application.condition(project, total_quantity=999.0, measurement_count=999)
    quantities = {"verified": 1.5, "unverified": 2.25, "rejected": 4.0}
    for note, quantity in quantities.items():
        application.measurement(
            condition,
            page,
            quantity,
            notes=note,
            is_verified=note == "verified",
            is_rejected=note == "rejected",
        )
    data = application.export(project, **options)
    assert {row["notes"] for row in rows(data)} == kept
    (totals,) = rows(data, "conditions")
    assert (
        totals["total_quantity"] == sum(quantities[note] for note in kept) == data.source_totals["quantity"]
    )
    assert totals["measurement_count"] == len(kept) == data.source_rows


def test_chosen_conditions_and_pages(application: Application) -> None:
    project = application.project()
    document = application.document(project)
    pages = [application.page(document, n) for n in (1, 2)]
    conditions = [application.condition(project, name) for name in "ab"]
    ids = {(c, p): application.measurement(c, p) for c in conditions for p in pages}
    data = application.export(project, condition_ids=[conditions[1]], page_ids=[pages[0]])
    assert [row["id"] for row in rows(data)] == [ids[conditions[1], pages[0]]]
    assert [row["id"] for row in rows(data, "conditions")] == [conditions[1]]


def test_empty_project_and_conditions_without_measurements(application: Application) -> None:
    empty, listed = application.project("empty"), application.project("listed")
    application.condition(listed, "nothing measured")
    assert application.export(empty).source_rows == 0
    assert [row["measurement_count"] for row in rows(application.export(listed), "conditions")] == [0]


def test_as_of_reads_what_existed_before(application: Application) -> None:
    project = application.project()
    page = application.page(application.document(project, created_at=T0), created_at=T0)
    condition = application.condition(project, created_at=T0)
    old = application.measurement(condition, page, created_at=T0 + timedelta(hours=1))
    application.measurement(condition, page, created_at=T0 + timedelta(hours=2))  # the end is not in it
    application.condition(project, "later", created_at=T0 + timedelta(days=1))
    data = application.export(project, as_of=T0 + timedelta(hours=2))
    assert [row["id"] for row in rows(data)] == [old]
    assert data.source_rows == len(rows(data, "conditions")) == 1


@pytest.mark.slow
def test_no_row_of_another_project_ever(application: Application) -> None:
    """Random projects, conditions and page ids: whatever is asked for, only own rows come, or a refusal."""
    chance = random.Random(7)
    owner_of: dict[str, str] = {}
    parts: dict[str, dict[str, list[str]]] = {}
    for name in "abc":
        project = application.project(name)
        document = application.document(project, f"{name}.pdf")
        pages = [application.page(document, n) for n in (1, 2)]
        conditions = [application.condition(project, f"{name}{n}") for n in (1, 2)]
        parts[project] = {"pages": pages, "conditions": conditions}
        for condition in conditions:
            for page in pages:
                owner_of[application.measurement(condition, page)] = project
    everything = (
        [id for part in parts.values() for ids in part.values() for id in ids] + list(parts) + [uid(10**9)]
    )
    exported = refused = 0
    for _ in range(60):
        project = chance.choice(everything)
        wishes = {
            "condition_ids": chance.sample(everything, chance.randrange(3)) or None,
            "page_ids": chance.sample(everything, chance.randrange(3)) or None,
        }
        if project in parts and chance.random() < 0.5:
            wishes = {"condition_ids": parts[project]["conditions"][:1], "page_ids": None}
        try:
            data = application.export(project, **wishes)
        except SourceError as error:
            refused += 1
            assert "There is no project" in str(error) or "not part of project" in str(error)
            continue
        exported += 1
        assert {owner_of[row["id"]] for row in rows(data)} <= {project}
        assert {row["document"] for row in rows(data)} <= {f"{data.title}.pdf"}
    assert exported
    assert refused


def test_a_page_of_another_project_gives_away_nothing(application: Application) -> None:
    mine, theirs = application.project("mine"), application.project("theirs")
    foreign = application.page(application.document(theirs, "secret.pdf"), 7, sheet_title="secret")
    application.measurement(application.condition(mine), foreign)
    data = application.export(mine)
    (row,) = rows(data)
    assert (row["document"], row["page_number"], row["sheet_title"], row["page_index"]) == (
        None,
        None,
        None,
        -1,
    )
    assert "1 measurements lie on a page that is not part of this project" in data.warnings[0]


@pytest.mark.parametrize(
    "scope",
    [
        "' OR 1=1 --",
        "x'; DROP TABLE measurements; --",
        "%",
        "\\",
        "\\' OR true --",
        "a%%b",
        ":p",
        "\u2028",
        "",
    ],
)
def test_a_hostile_scope_is_no_project(application: Application, scope: str) -> None:
    application.project()
    with pytest.raises(SourceError):
        application.export(scope)
    with application.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(MEASUREMENTS)) == 0


def test_quantities_that_are_no_numbers_are_left_out_of_totals(application: Application) -> None:
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    strange = [float("inf"), float("-inf")]
    if application.engine.dialect.name == "postgresql":
        strange.append(float("nan"))  # SQLite keeps NaN as NULL, and the column is NOT NULL
    for quantity in (2.5, *strange):
        application.measurement(condition, page, quantity)
    data = application.export(project)
    assert data.source_totals == {"quantity": 2.5}
    assert rows(data, "conditions")[0]["total_quantity"] == 2.5
    assert data.source_rows == len(rows(data)) == 1 + len(strange)
    assert f"{len(strange)} quantities are not numbers" in data.warnings[0]


def test_one_snapshot_while_a_writer_writes(application: Application) -> None:
    """Rows written after the snapshot was opened, and while its rows stream, are in none of its tables."""
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    for _ in range(5):
        application.measurement(condition, page, 1.0)
    if application.engine.dialect.name == "sqlite":
        with application.engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # so that a writer need not wait for us
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            application.measurement(condition, page, 10.0)
            application.condition(project, "new")
            with application.engine.begin() as connection:
                connection.execute(sa.update(MEASUREMENTS).values(quantity=MEASUREMENTS.c.quantity + 1))
            written.set()

    with open_snapshot(application.url) as snapshot:
        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert written.wait(240)
            data = in_memory(source.read(snapshot, Request("takeoff", takeoff, {}, project, Options())))
            again = in_memory(source.read(snapshot, Request("takeoff", takeoff, {}, project, Options())))
        finally:
            stop.set()
            writer.join()
    assert [row["quantity"] for row in rows(data)] == [1.0] * 5
    assert data.source_totals == {"quantity": 5.0}
    assert len(rows(data, "conditions")) == 1
    assert rows(again) == rows(data)


def test_a_stored_infinite_time_is_no_time(postgres_application: Application) -> None:
    application = postgres_application
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    application.measurement(condition, page)
    with application.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE measurements SET updated_at = 'infinity'")
    assert rows(application.export(project))[0]["updated_at"] is None


def test_values_against_the_declared_types_of_sqlite_are_read(sqlite_application: Application) -> None:
    application = sqlite_application
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    application.measurement(condition, page)
    with application.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE measurements SET notes = 12.5, unit = CAST(x'ff41eda080' AS TEXT)")
        connection.exec_driver_sql(
            "UPDATE measurements SET geometry_data = '{broken', updated_at = '2026-03-01'"
        )
    (row,) = rows(application.export(project))
    assert (row["notes"], row["geometry_data"]) == ("12.5", "{broken")
    assert row["unit"].startswith("\ufffdA")
    assert row["updated_at"] == T0.replace(hour=0)


def test_cells_that_no_column_can_hold_are_left_empty_and_counted(sqlite_application: Application) -> None:
    application = sqlite_application
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    application.assembly(condition, material_cost=1)
    for _ in range(3):
        application.measurement(condition, page, 2.0)
    with application.engine.begin() as connection:
        for statement in (
            "UPDATE measurements SET quantity = '=1+1', updated_at = 'yesterday', unit = CAST(x'ff' AS TEXT)",
            "UPDATE measurements SET quantity = ' 7.5 ' WHERE rowid = 1",
            "UPDATE pages SET page_number = 1.5, width = 'wide'",
            "UPDATE assemblies SET labor_cost = 'much', total_cost = 1e30",
            "UPDATE projects SET updated_at = '', name = CAST(x'41ff' AS TEXT)",
        ):
            connection.exec_driver_sql(statement)
    data = application.export(project)
    assert [row["quantity"] for row in rows(data)] == [7.5, None, None]
    assert [row["updated_at"] for row in rows(data)] == [None] * 3
    assert data.source_totals == {"quantity": 7.5}
    (at,) = rows(data, "pages")
    assert (at["page_number"], at["width"], at["height"]) == (None, None, 2000)
    (row,) = rows(data, "conditions")
    assert (row["labor_cost"], row["total_cost"], row["material_cost"]) == (None, None, 1)
    assert data.changed == {
        (NO_NUMBER, "measurements.quantity"): 2,
        (NO_TIME, "measurements.updated_at"): 3,
        (NO_TEXT, "measurements.unit"): 3,
        (NO_NUMBER, "pages.page_number"): 1,
        (NO_NUMBER, "pages.width"): 1,
        (NO_NUMBER, "conditions.labor_cost"): 1,
        (NO_NUMBER, "conditions.total_cost"): 1,
        (NO_TIME, "takeoff.updated_at"): 1,
        (NO_TEXT, "takeoff.name"): 1,
    }


def test_numbers_and_times_that_only_postgresql_has_are_counted(postgres_application: Application) -> None:
    application = postgres_application
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    application.assembly(condition)
    application.measurement(condition, page)
    with application.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE measurements SET updated_at = '0044-03-15 BC'")
        connection.exec_driver_sql("UPDATE conditions SET created_at = '-infinity'")
        connection.exec_driver_sql("UPDATE assemblies SET labor_cost = 'NaN'")
    data = application.export(project)
    assert data.changed == {
        (NO_TIME, "measurements.updated_at"): 1,
        (NO_TIME, "conditions.created_at"): 1,
        (NO_NUMBER, "conditions.labor_cost"): 1,
    }


def test_scopes_lists_projects_in_order_of_creation(application: Application) -> None:
    second, first = (
        application.project("second", created_at=T0),
        application.project("first", created_at=T0.min),
    )
    with open_snapshot(application.url) as snapshot:
        assert list(source.scopes(snapshot, {}).items()) == [(first, "first"), (second, "second")]


def test_models_name_what_the_application_has(application: Application) -> None:
    names = sa.inspect(application.engine).get_table_names()
    assert {t.name for t in (CONDITIONS, MEASUREMENTS, PAGES)} <= set(names)


def test_an_application_without_assemblies_has_no_costs(application: Application) -> None:
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    application.measurement(condition, page, 3.0)
    ASSEMBLIES.drop(application.engine)
    (row,) = rows(application.export(project), "conditions")
    assert (row["costed"], row["total_cost"], row["total_quantity"]) == (False, None, 3.0)


def test_sqlite_s_words_for_booleans_are_read_and_others_counted(sqlite_application: Application) -> None:
    application = sqlite_application
    project = application.project()
    page, condition = application.page(application.document(project)), application.condition(project)
    for number in range(4):
        application.measurement(condition, page, notes=str(number))
    with application.engine.begin() as connection:
        for number, word in enumerate(("false", "TRUE", "perhaps", 0)):
            connection.exec_driver_sql(
                "UPDATE measurements SET is_modified = ? WHERE notes = ?", (word, str(number))
            )
    data = application.export(project)
    assert [row["is_modified"] for row in rows(data)] == [False, True, None, False]
    assert [(reason, n) for (reason, cell), n in data.changed.items() if cell.endswith("is_modified")] == [
        (NO_BOOLEAN, 1)
    ]
