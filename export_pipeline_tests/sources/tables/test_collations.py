"""Filters mean the same whatever the collation of a column: also one that ignores case."""

from __future__ import annotations

from typing import Any

import pytest

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.table import TableModel
from export_pipeline.formats.options import FormatOptions
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline_tests.hostile import introspected
from export_pipeline_tests.sources.introspection.schemas import execute

SCHEMA = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE DOMAIN loose_text AS text COLLATE loose;
CREATE TYPE mood AS ENUM ('Sad', 'ok');
CREATE TABLE t (
    id int PRIMARY KEY, loose text COLLATE loose UNIQUE, varied varchar(20) COLLATE loose, tight text COLLATE "C",
    dom loose_text, ci citext, fixed char(8) COLLATE loose, turkish text COLLATE "tr-x-icu", german text COLLATE "de-x-icu",
    e mood, raw bytea, j jsonb, a text[], tag xml, n name);
INSERT INTO t SELECT id, v || id, v, v, v, v, left(v, 8), v, v, 'Sad', convert_to(v, 'UTF8'), to_jsonb(v), ARRAY[v], '<a/>', v
    FROM (VALUES (1, 'Straße'), (2, 'STRASSE'), (3, 'strasse'), (4, 'Émile'), (5, 'émile'), (6, 'emile'),
    (7, '100%_\\x'), (8, ''), (9, NULL)) AS texts (id, v);
"""


@pytest.fixture
def url(system_postgres_url: str) -> str:
    execute(system_postgres_url, SCHEMA)
    return system_postgres_url


def matched(url: str, name: str, operator: str, value: Any) -> list[int]:
    spec = TableModel.model_validate(
        {"dataset": "t", "description": "t", "formats": ["csv"], "source": {"table": "t"}}
        | {"columns": [{"name": "id", "type": "integer"}, {"name": name}]}
        | {"filters": {name: ["equals", "in", "contains", "is_null"]}}
    ).spec()
    given = {"filters": {name: {operator: value}}}
    options, _ = parse_options(given, tabular.options(spec), FormatOptions)
    with open_snapshot(url) as snapshot:
        data = source.read(snapshot, Request("t", tabular, spec, None, options, None))
        return [row["id"] for batch in data.tables["rows"].open() for row in batch.to_pylist()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["varied", "dom", "tight", "ci", "fixed", "turkish", "german", "n"])
def test_every_operator_works_and_is_exact(url: str, name: str) -> None:
    assert matched(url, name, "equals", "strasse") == [3]
    assert matched(url, name, "in", ["STRASSE", "émile", "emile", "nobody"]) == [2, 5, 6]
    assert matched(url, name, "equals", "") == [8]
    assert matched(url, name, "is_null", True) == [9]
    assert matched(url, name, "contains", "RASSE") == [2, 3]
    assert matched(url, name, "contains", "%_\\") == [7]
    # Letters beyond ASCII in upper or lower case are the collation's: "C" knows none.
    assert matched(url, name, "contains", "émil") == ([5] if name in ("tight", "n") else [4, 5])


@pytest.mark.parametrize("name", ["e", "raw", "j", "a", "tag"])
def test_types_that_are_printed_as_text_can_be_searched(url: str, name: str) -> None:
    texts = {
        "e": ("SAD", [*range(1, 10)]),
        "raw": ("5C", [7]),
        "j": ("strasse", [2, 3]),
        "a": ("strasse", [2, 3]),
    }
    text, ids = texts.get(name, ("<A/>", [*range(1, 10)]))
    assert matched(url, name, "contains", text) == ids


def test_values_that_differ_in_case_alone_exist_each(url: str) -> None:
    execute(
        url,
        "CREATE TABLE labels (id int, label text COLLATE loose); INSERT INTO labels VALUES (1, 'a'), (2, 'A'), (3, 'b');"
        "CREATE TABLE used (id int PRIMARY KEY, label text COLLATE loose); INSERT INTO used VALUES (1, 'a'), (2, 'A');",
    )
    spec = TableModel.model_validate(
        {
            "dataset": "u",
            "description": "u",
            "formats": ["csv"],
            "source": {"table": "used", "where": {"label": "A"}},
        }
        | {"columns": [{"name": "id", "type": "integer"}, {"name": "label"}]}
        | {"filters": {"label": {"operators": ["in"], "among": {"table": "labels", "column": "label"}}}}
    ).spec()

    def ids(*values: str) -> list[int]:
        given = {"filters": {"label": {"in": [*values]}}}
        options, _ = parse_options(given, tabular.options(spec), FormatOptions)
        with open_snapshot(url) as snapshot:
            data = source.read(snapshot, Request("u", tabular, spec, None, options, None))
            return [row["id"] for batch in data.tables["rows"].open() for row in batch.to_pylist()]

    assert ids("a", "A") == [2]
    with pytest.raises(SourceError, match="there is no 'B' in labels"):
        ids("B")


@pytest.mark.slow
def test_an_introspected_table_works_as_it_is_written(url: str) -> None:
    assert "loose" in introspect(url, "t").yaml
    assert introspected.use_everything(url, "t") > 40
