from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from export_pipeline.tabular.validation import CheckedTableSpec

SOUND: dict[str, Any] = {
    "source": {
        "table": "orders",
        "key": ["id"],
        "order": ["-at", "client.name"],
        "where": {"deleted_at": None, "client.active": True},
        "relations": {
            "client": {"table": "clients", "from": "client_id"},
            "state": {"table": "states", "from": "client.state_id"},
            "lines": {"table": "lines", "from": "id", "to": "order_id", "many": True},
            "product": {"table": "products", "from": "lines.product_id"},
        },
    },
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "client_name", "from": "client.name"},
        {"name": "state", "from": "state.name"},
        {"name": "products", "from": "product.name", "separator": ", "},
        {
            "name": "lines",
            "type": "json",
            "nested": {
                "from": "lines",
                "fields": {"n": "n", "p": {"from": "product", "fields": {"id": "id"}}},
            },
        },
        {"name": "cents", "type": "money", "total": True, "minor_digits": 3, "currency": "€"},
        {"name": "net", "type": "money", "compute": "cents - coalesce(fees, 0)"},
        {"name": "fees", "type": "money", "hidden": True},
        {"name": "status", "type": "enum", "labels": {"A": "Active"}},
        {"name": "at", "type": "timestamp", "zone": "Europe/Berlin", "pattern": "MMM dd, yyyy HH:mm:ss"},
        {"name": "day", "type": "date", "pattern": "dd.MM.yyyy"},
        {"name": "paid", "type": "boolean", "labels": {"true": "yes"}},
        {"name": "secret", "readers": "bosses"},
        {"name": "odd", "from": "a.b"},
    ],
    "presets": {"few": ["id", "net"], "active": {"filters": {"status": {"equals": "A"}}}},
    "filters": {
        "id": ["equals", "in", "range"],
        "client_name": ["contains"],
        "product": {"operators": ["in"], "column": "lines.product_id", "type": "integer"},
        "at": ["range", "is_null"],
        "status": ["equals"],
    },
    "sort": ["id", "client_name", "at"],
    "scope": {"column": "client.tenant_id", "table": "tenants"},
    "window": {"column": "at", "zone": "Europe/Berlin"},
    "readers": {"bosses": {"table": "bosses", "user": "user_id", "scope": "tenant_id"}},
    "file_name": "{title}_{scope:.8}_{window}_{created:%Y%m%d-%H_%M}{preset}{dataset}",
    "file_zone": "America/New_York",
}


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The sound spec with another value at a place; `...` takes the place away."""
    spec = copy.deepcopy(SOUND)
    part: Any = spec
    for step in path[:-1]:
        part = part[step]
    if value is ...:
        del part[path[-1]]
    elif isinstance(part, list) and path[-1] == len(part):
        part.append(value)
    else:
        part[path[-1]] = value
    return spec


def column(**fields: Any) -> tuple[tuple[str | int, ...], dict[str, Any]]:
    return ("columns", len(SOUND["columns"])), {"name": "extra", **fields}


def refused(spec: dict[str, Any]) -> dict[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as caught:
        CheckedTableSpec.model_validate(spec)
    return {error["loc"]: error["msg"].removeprefix("Value error, ") for error in caught.value.errors()}


def test_a_sound_spec_survives_its_json() -> None:
    spec = CheckedTableSpec.model_validate(SOUND)
    stored = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert CheckedTableSpec.model_validate(stored) == spec


NEW = len(SOUND["columns"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "value", "where", "message"),
    [
        (("source", "sql"), "select 1", ("source",), "say table or sql, not both"),
        (("source", "table"), ..., ("source",), "say table or sql, one of them"),
        (("source", "ordr"), 1, ("source", "ordr"), "there is no 'ordr'; did you mean order?"),
        (("source", "order"), ["-clint.name"], ("source", "order", 0), "did you mean client?"),
        (("source", "order"), ["lines.n"], ("source", "order", 0), "of lines several rows may belong to one"),
        (("source", "key"), ["client."], ("source", "key", 0), "say a column of client"),
        (("source", "where"), {"product.id": 1}, ("source", "where", "product.id"), "of lines several rows"),
        (("source", "relations", "state", "from"), "clients.id", ("source", "relations", "state", "from"), "did you mean client?"),
        (("source", "relations", "client", "from"), "state.id", ("source", "relations", "client", "from"), "client starts from itself"),
        (("columns", 1, "name"), "id", ("columns", 1, "name"), "'id' is the name of column 1 already"),
        (("columns", 1, "from"), "clint.name", ("columns", 1, "from"), "there is no 'clint'; did you mean client?"),
        (("columns", 1, "from"), "product.name", ("columns", 1, "from"), "say a separator"),
        (("columns", 1, "separator"), ",", ("columns", 1, "separator"), "only for fields of a relation with many"),
        (("columns", 3, "type"), "integer", ("columns", 3, "type"), "are text, not integer"),
        (("columns", 4, "type"), "text", ("columns", 4, "type"), "nested rows are json"),
        (("columns", 4, "nested"), {"value": "id"}, ("columns", 4, "nested"), "value needs from"),
        (("columns", 4, "nested", "from"), "line", ("columns", 4, "nested", "from"), "did you mean lines?"),
        (("columns", 4, "nested", "fields", "p", "from"), "state", ("columns", 4, "nested", "fields", "p", "from"), "state does not start from lines"),
        (*column(compute="1", **{"from": "id"}), ("columns", NEW, "compute"), "one origin, not compute and from"),
        (*column(compute="cents + 1"), ("columns", NEW, "compute"), "does not fit text: it is integer; write text(…)"),
        (*column(compute="cents / 2", type="money"), ("columns", NEW, "compute"), "write round(…)"),
        (*column(compute="cent + 1", type="integer"), ("columns", NEW, "compute"), "position 1: there is no 'cent'; did you mean cents?"),
        (*column(compute="extra", type="text"), ("columns", NEW, "compute"), "extra are computed from each other"),
        (*column(compute="'x'", readers="bosses"), ("columns", NEW, "readers"), "guard the columns"),
        (*column(type="decimal(77,2)"), ("columns", NEW, "type"), "precision is 1 to 76"),
        (*column(type="texxt"), ("columns", NEW, "type"), "there is no type 'texxt'; did you mean text?"),
        (*column(type="timestamp", zone="Europe/Berln"), ("columns", NEW, "zone"), "did you mean Europe/Berlin?"),
        (*column(type="date", pattern="dd HH"), ("columns", NEW, "pattern"), "a date has no HH"),
        (*column(type="timestamp", pattern="YYYY"), ("columns", NEW, "pattern"), "there is no 'YYYY'"),
        (*column(type="date", pattern="M" * 100), ("columns", NEW, "pattern"), "no part of a pattern"),
        (*column(type="timestamp", pattern="--"), ("columns", NEW, "pattern"), "at least one of"),
        (*column(pattern="yyyy"), ("columns", NEW, "pattern"), "only for date, timestamp; this is text"),
        (*column(labels={"a": "b"}), ("columns", NEW, "labels"), "only for boolean, enum"),
        (*column(type="boolean", labels={"yes": "b"}), ("columns", NEW, "labels"), "not 'yes'"),
        (*column(total=True), ("columns", NEW, "total"), "only for decimal, float"),
        (*column(readers="boss"), ("columns", NEW, "readers"), "did you mean bosses?"),
        (*column(**{"from": "secret"}), ("columns", NEW), "secret has readers and reads the same field"),
        (*column(type="json", nested={"fields": {"s": "secret"}}), ("columns", NEW), "secret has readers"),
        (*column(type="json", nested={"fields": {"s": {"text": "{secret}"}}}), ("columns", NEW), "secret has readers"),
        (*column(formats=[]), ("columns", NEW, "formats"), "at least one format"),
        (("presets", "few", 1), "nett", ("presets", "few", "columns", 1), "did you mean net?"),
        (("presets", "few", 1), "fees", ("presets", "few", "columns", 1), "there is no 'fees'"),
        (("presets", "few", 1), "id", ("presets", "few", "columns", 1), "'id' is named twice"),
        (("presets", "few"), [], ("presets", "few", "columns"), "at least one column"),
        (("presets", "active", "filters", "status"), {"equals": "a"}, ("presets", "active", "filters", "status", "equals"), "must be 'A'"),
        (("presets", "active", "filters"), {"stat": {"equals": 1}}, ("presets", "active", "filters", "stat"), "did you mean status?"),
        (("presets", "active", "file_name"), "{scpe}", ("presets", "active", "file_name"), "did you mean scope?"),
        (("filters", "idd"), ["equals"], ("filters", "idd"), "there is no 'idd'; did you mean id?"),
        (("filters", "id"), ["contains"], ("filters", "id", "operators"), "integer has no contains; there are equals"),
        (("filters", "client_name"), ["range"], ("filters", "client_name", "operators"), "text has no range"),
        (("filters", "net"), ["range"], ("filters", "net"), "net is computed"),
        (("filters", "lines"), ["is_null"], ("filters", "lines"), "lines is nested"),
        (("filters", "products"), ["equals"], ("filters", "products"), "products is nested or joined"),
        (("filters", "secret"), ["equals"], ("filters", "secret"), "secret has readers"),
        (("filters", "product", "type"), ..., ("filters", "product"), "say the type of its values"),
        (("filters", "x"), {"operators": ["equals"], "parameter": True, "type": "text"}, ("filters", "x", "parameter"), "only the select of a .sql file"),
        (("filters", "status"), ["eqals"], ("filters", "status", "operators", 0), "'equals', 'in', 'range'"),
        (("sort", 0), "idd", ("sort", 0), "did you mean id?"),
        (("sort", 0), "net", ("sort", 0), "the database cannot sort by it"),
        (("sort", 0), "lines", ("sort", 0), "the database cannot sort by it"),
        (("sort", 0), "secret", ("sort", 0), "secret has readers"),
        (("scope", "column"), "lines.id", ("scope", "column"), "this needs a field of the row itself"),
        (("scope",), ..., ("readers", "bosses", "scope"), "this export has no scope"),
        (("window", "zone"), "CEST", ("window", "zone"), "'CEST' is not an IANA time zone"),
        (("window", "column"), "clint.at", ("window", "column"), "did you mean client?"),
        (("file_zone",), "../etc", ("file_zone",), "is not an IANA time zone"),
        (("file_name",), "{title.__class__}", ("file_name",), "there is no 'title.__class__'; did you mean title?"),
        (("file_name",), "{title!r}", ("file_name",), "write {title} without !r"),
        (("file_name",), "{title:>1000000}", ("file_name",), "{title:>1000000} has an unknown form"),
        (("file_name",), "{created:%Q}", ("file_name",), "has an unknown form; write e.g. {created:%Y%m%d}"),
        (("file_name",), "{", ("file_name",), "write {{ and }} for braces"),
        (("json_key",), "", ("json_key",), "at least one character"),
        (("print",), ["id", "sttus"], ("print", 1), "did you mean status?"),
        (("print",), ["id", "id"], ("print", 1), "'id' is named twice"),
        (("print",), ["fees"], ("print", 0), "there is no 'fees'"),
        (("print_order",), ["stat"], ("print_order", 0), "did you mean state?"),
        (("group_by",), ["stat"], ("group_by", 0), "did you mean state?"),
        (("group_by",), ["at"], ("group_by", 0), "rows are grouped by enum, text, uuid; at is timestamp"),
        (("print",), [], ("print",), "at least 1 item"),
        (("columns", 0, "print"), {"labels": {"1": "one"}}, ("columns", 0, "print", "labels"), "only for boolean, enum"),
        (("columns", 10, "print"), {"pattern": "HH"}, ("columns", 10, "print", "pattern"), "a date has no HH"),
        (("columns", 5, "grouping"), False, ("columns", 5, "total"), "their sum means nothing"),
        (("preset_required",), "maybe", ("preset_required",), "boolean"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_at_its_place(
    place: tuple[str | int, ...], value: Any, where: tuple[str | int, ...], message: str
) -> None:
    mistakes = refused(changed(place, value))
    assert where in mistakes, mistakes
    assert message in mistakes[where]
    assert "\n" not in mistakes[where]


def test_all_mistakes_are_reported_at_once() -> None:
    spec = changed(("sort", 0), "idd")
    spec["columns"][6]["compute"] = "cents +"
    spec["file_zone"] = "Nowhere"
    assert set(refused(spec)) == {("sort", 0), ("columns", 6, "compute"), ("file_zone",)}


def test_columns_computed_from_each_other_are_named() -> None:
    spec = changed(*column(compute="concat(other, 'x')"))
    spec["columns"].append({"name": "other", "compute": "lower(extra)"})
    assert refused(spec) == {
        ("columns", NEW, "compute"): "extra, other are computed from each other; break the circle"
    }


def test_parameters_are_one_value_of_a_select() -> None:
    spec = changed(("source", "table"), ...)
    spec["source"]["sql"] = "select 1"
    spec["filters"]["x"] = {"operators": ["equals"], "parameter": True, "type": "text"}
    CheckedTableSpec.model_validate(spec)
    spec["filters"]["x"]["operators"] = ["in"]
    assert "only operator is equals" in refused(spec)["filters", "x", "operators"]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=5)
    | st.sampled_from(["id", "client.name"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)


def _places(part: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [place for key, inner in items for place in ((*path, key), *_places(inner, (*path, key)))]


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_places(SOUND)), _JSON)
def test_whatever_stands_anywhere_is_taken_or_refused(place: tuple[str | int, ...], value: Any) -> None:
    try:
        CheckedTableSpec.model_validate(changed(place, value))
    except ValidationError as error:
        assert error.errors()
