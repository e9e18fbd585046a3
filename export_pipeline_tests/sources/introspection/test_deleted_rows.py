"""A guessed filter leaves out nothing that the application would show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline_tests.hostile import file_readers, introspected
from export_pipeline_tests.sources.introspection.schemas import attributes, execute, sqlite

# The column, the values of its rows, and the `where` that is written; `...` for none.
CASES: dict[str, tuple[str, list[str], Any]] = {
    "null and past": ("deleted_at timestamptz", ["NULL", "'2024-01-01'"], {"deleted_at": None}),
    "days": ("deleted_at date", ["NULL", "'2024-01-01'"], {"deleted_at": None}),
    "camel": ('"deletedAt" timestamp', ["NULL", "'2024-01-01'"], {"deletedAt": None}),
    "none deleted yet": ("deleted_at timestamptz DEFAULT NULL", ["NULL"], {"deleted_at": None}),
    "infinity by default": ("deleted_at timestamptz NOT NULL DEFAULT 'infinity'", ["'infinity'", "'2024-01-01'"], ...),
    "infinity among nulls": ("deleted_at timestamptz", ["NULL", "'infinity'", "'2024-01-01'"], ...),
    "minus infinity": ("deleted_at timestamp", ["NULL", "'-infinity'"], ...),
    "far future": ("deleted_at timestamptz", ["NULL", "'9999-12-31'"], ...),
    "scheduled": ("deleted_at timestamptz", ["NULL", "'2999-01-01'"], ...),
    "epoch time": ("deleted_at timestamptz", ["NULL", "'1970-01-01'"], ...),
    "first day": ("deleted_at date", ["NULL", "'0001-01-01'"], ...),
    "always a time": ("deleted_at timestamptz NOT NULL", ["'2024-01-01'"], ...),
    "never without": ("deleted_at timestamptz", ["'2024-01-01'"], ...),
    "a default": ("deleted_at timestamptz DEFAULT 'infinity'", ["NULL"], ...),
    "empty": ("deleted_at timestamptz", [], ...),
    "epoch number": ("deleted_at bigint NOT NULL DEFAULT 0", ["0", "1704067200"], ...),
    "text": ("deleted_at text NOT NULL DEFAULT ''", ["''", "'2024-01-01'"], ...),
    "flag": ("is_deleted boolean NOT NULL DEFAULT false", ["false", "true"], {"is_deleted": False}),
    "flag of old rows": ("is_deleted boolean", ["false", "true", "NULL"], {"is_deleted": [False, None]}),
    "flag of old rows alone": ("deleted boolean DEFAULT false", ["NULL", "NULL"], {"deleted": [False, None]}),
    "all marked": ("is_deleted boolean", ["true"], ...),
    "marked when new": ("is_deleted boolean DEFAULT true", ["true", "false"], ...),
    "number": ("is_deleted int", ["0", "1", "NULL"], ...),
    "count": ("deleted int", ["0", "3"], ...),
    "letter": ("is_deleted char(1)", ["'N'", "'Y'"], ...),
    "left": ("removed_at timestamptz", ["NULL", "'2024-01-01'"], ...),
    "archive": ("archived boolean", ["false", "true"], ...),
    "active": ("is_active boolean", ["false", "true"], ...),
    "state": ("status text", ["'deleted'", "'live'"], ...),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_filter_is_written_only_without_a_doubt(postgres_url: str, case: str, tmp_path: Path) -> None:
    column, values, where = CASES[case]
    rows = "".join(f"INSERT INTO t VALUES ({number}, {value});" for number, value in enumerate(values))
    execute(postgres_url, f"CREATE TABLE t (id int PRIMARY KEY, {column}); {rows}")
    declared = attributes(postgres_url, "t")
    text = introspect(postgres_url, "t").yaml

    if where is ...:
        assert "where" not in declared["source"]
        assert introspected.export(postgres_url, "t", tmp_path / "made", ["json"]).spec is not None
        documents = file_readers.documents(tmp_path / "made" / "export.json")
        assert len(documents) == len(values)
        commented = not any(sign in column for sign in ("text", "char", "is_active"))
        assert ("In doubt: " in text) == commented
    else:
        assert declared["source"]["where"] == where
        made = introspected.export(postgres_url, "t", tmp_path / "made", ["json"])
        left_out = values.count("'2024-01-01'") + values.count("true")
        assert len(file_readers.documents(made.files["json"])) == len(values) - left_out
        assert f"stay out: {left_out} of {len(values)} rows now." in text


def test_a_doubtful_filter_works_once_its_sign_is_taken_away(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TABLE t (id int PRIMARY KEY, deleted_at bigint); INSERT INTO t VALUES (1, 0), (2, 99), (3, NULL);",
    )
    text = introspect(postgres_url, "t").yaml
    assert "This would leave out 1 of 3 rows now. In doubt: numbers may also count, or be times." in text
    assert "\n    # where: { deleted_at: [0, null] }\n" in text


def test_a_sure_column_goes_before_a_doubtful_one(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TABLE t (id int PRIMARY KEY, removed_at timestamp, deleted_at timestamp, is_deleted boolean);"
        "INSERT INTO t VALUES (1, NULL, 'infinity', false), (2, NULL, NULL, true)",
    )
    assert attributes(postgres_url, "t")["source"]["where"] == {"is_deleted": [False, None]}


@pytest.mark.parametrize(
    ("column", "values", "where"),
    [
        ("deleted_at DATETIME", ["NULL", "'2024-01-01 10:00:00'"], {"deleted_at": None}),
        ("deleted_at DATETIME", ["NULL", "0", "1704067200"], ...),
        ("deleted_at DATETIME", ["'0000-00-00 00:00:00'", "'2024-01-01 10:00:00'"], ...),
        ("deleted_at DATETIME", ["''", "'2024-01-01 10:00:00'"], ...),
        ("deleted_at DATETIME", ["NULL", "'9999-12-31 23:59:59'"], ...),
        ("is_deleted BOOLEAN", ["0", "1", "NULL"], {"is_deleted": [False, None]}),
        ("is_deleted BOOLEAN NOT NULL", ["0", "1"], {"is_deleted": False}),
        ("is_deleted BOOLEAN", ["'f'", "'t'"], {"is_deleted": [False, None]}),
        ("is_deleted BOOLEAN", ["'N'", "'Y'"], ...),
        ("is_deleted INTEGER", ["0", "1"], ...),
    ],
)
def test_sqlite_is_judged_by_what_is_stored(
    tmp_path: Path, column: str, values: list[str], where: Any
) -> None:
    rows = "".join(f"INSERT INTO t VALUES ({number}, {value});" for number, value in enumerate(values))
    url = sqlite(tmp_path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, {column}); {rows}")
    assert attributes(url, "t")["source"].get("where", ...) == where
    made = introspected.export(url, "t", tmp_path / "made", ["json"])
    left_out = 0 if where is ... else sum("2024" in v or v in ("1", "'t'") for v in values)
    assert len(file_readers.documents(made.files["json"])) == len(values) - left_out
