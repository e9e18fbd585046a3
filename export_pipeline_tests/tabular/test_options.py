from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from export_pipeline.tabular import options
from export_pipeline.tabular.column_selection import find_needed_columns, select_columns
from export_pipeline.tabular.validation import CheckedTableSpec

SPEC = CheckedTableSpec.model_validate(
    {
        "source": {"table": "t", "relations": {"kids": {"table": "k", "from": "id", "many": True}}},
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "name"},
            {"name": "cents", "type": "money"},
            {"name": "rate", "type": "decimal(12,4)"},
            {"name": "score", "type": "float"},
            {"name": "paid", "type": "boolean"},
            {"name": "day", "type": "date"},
            {"name": "at", "type": "timestamp", "zone": "Europe/Berlin"},
            {"name": "wall", "type": "timestamp", "zone": None},
            {"name": "key", "type": "uuid"},
            {"name": "status", "type": "enum", "labels": {"NEW": "New", "OLD": "Old"}},
            {"name": "free", "type": "enum"},
            {"name": "data", "type": "json", "extra": True},
            {"name": "secret", "type": "integer", "hidden": True},
            {"name": "twice", "type": "decimal(20,0)", "compute": "round(half * 2)"},
            {"name": "half", "type": "decimal(38,12)", "compute": "secret / 2", "hidden": True},
        ],
        "presets": {
            "essential": ["name", "id"],
            "everything": "all",
            "new": {"filters": {"status": {"in": ["NEW"]}}},
        },
        "filters": {
            "id": ["equals", "in", "range", "is_null"],
            "name": ["equals", "in", "contains", "is_null"],
            "cents": ["range"],
            "rate": ["equals", "range"],
            "score": ["range"],
            "paid": ["equals"],
            "day": ["equals", "in", "range"],
            "at": ["equals", "range"],
            "wall": ["range"],
            "key": ["equals", "in"],
            "status": ["equals", "in"],
            "free": ["equals"],
            "kid": {"operators": ["equals"], "column": "kids.name", "type": "text"},
        },
        "sort": ["id", "at"],
    }
)
JSON = SPEC.model_dump(mode="json", by_alias=True, exclude_defaults=True)
Options = options(JSON)
BERLIN = ZoneInfo("Europe/Berlin")


def one(name: str, operator: str, value: Any) -> Any:
    """The validated value of a filter."""
    made = Options.model_validate({"filters": {name: {operator: value}}})
    return getattr(getattr(made.filters, name), {"in": "in_", "range": "range_"}.get(operator, operator))


def refusal(given: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Options.model_validate(given)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in caught.value.errors())


def test_the_model_of_a_spec_is_made_once() -> None:
    assert options(JSON) is Options
    assert options(json.loads(json.dumps(JSON))) is Options


def test_nothing_needs_to_be_asked_for() -> None:
    made = Options.model_validate({})
    assert (made.columns, made.preset, made.sort, made.requested_by) == (None, None, None, None)
    assert made.filters.model_dump(exclude_none=True) == {}
    assert Options.model_validate({"columns": [], "sort": []}) == made


@pytest.mark.parametrize(
    ("name", "operator", "given", "expected"),
    [
        ("id", "equals", "7", 7),
        ("id", "in", [1, "2"], (1, 2)),
        ("id", "equals", 2**63 - 1, 2**63 - 1),
        ("id", "is_null", "false", False),
        ("name", "equals", "O'Brien; --", "O'Brien; --"),
        ("name", "contains", "50%_\\", "50%_\\"),
        ("rate", "equals", "12.3400", Decimal("12.3400")),
        ("paid", "equals", "true", True),
        ("day", "equals", "2026-02-28", date(2026, 2, 28)),
        ("at", "equals", "2026-03-29", date(2026, 3, 29)),
        ("at", "equals", "2026-03-29T01:30:00Z", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        ("at", "equals", "2026-07-01 12:00", datetime(2026, 7, 1, 12, tzinfo=BERLIN)),
        ("at", "equals", date(2026, 1, 1), date(2026, 1, 1)),
        ("key", "equals", "{6F9619FF-8B86-D011-B42D-00C04FC964FF}", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("status", "in", ["OLD", "NEW"], ("OLD", "NEW")),
        ("free", "equals", "anything", "anything"),
        ("kid", "equals", "x", "x"),
    ],
)
def test_values_are_typed_by_their_column(name: str, operator: str, given: Any, expected: Any) -> None:
    made = one(name, operator, given)
    assert made == expected
    assert type(made) is type(expected)


def test_a_range_may_be_open_at_either_end() -> None:
    made = one("wall", "range", {"from": "2026-01-01", "to": "2026-01-02T03:04:05"})
    assert (made.from_, made.to) == (date(2026, 1, 1), datetime(2026, 1, 2, 3, 4, 5))
    assert one("cents", "range", {"to": 5}).from_ is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colums": []}, "there is no 'colums'; did you mean columns?"),
        (
            {"columns": ["id", "nam"]},
            "columns: Value error, there is no 'nam'; did you mean name? There are id, name",
        ),
        ({"columns": ["secret"]}, "there is no 'secret'"),
        ({"columns": ["id", "id"]}, "'id' is named twice"),
        ({"preset": "esential"}, "'essential', 'everything' or 'new'"),
        ({"sort": ["name"]}, "there is no 'name'. There are id, -id, at, -at"),
        ({"sort": ["id", "-id"]}, "'id' is named twice"),
        ({"filters": {"statuss": {"equals": 1}}}, "there is no 'statuss'; did you mean status? There are id"),
        ({"filters": {"status": {"contains": "N"}}}, "there is no 'contains'. There are equals, in"),
        ({"filters": {"status": {"equals": "new"}}}, "'NEW' or 'OLD'"),
        (
            {"filters": {"id": {"equals": "1; DROP TABLE t"}}},
            "filters.id.equals: Input should be a valid integer",
        ),
        (
            {"filters": {"cents": {"range": {"from": "12.50"}}}},
            "it must be a whole number of the currency's minor unit (cents), not '12.50'",
        ),
        ({"filters": {"cents": {"range": {"to": 2**63}}}}, "minor unit (cents), not '9223372036854775808'"),
        ({"filters": {"id": {"equals": 2**63}}}, "less than 9223372036854775808"),
        ({"filters": {"id": {"in": []}}}, "at least 1"),
        ({"filters": {"id": {"in": list(range(10_001))}}}, "at most 10000"),
        ({"filters": {"name": {"contains": "x" * 10_001}}}, "at most 10000"),
        ({"filters": {"name": {"equals": "a\0b"}}}, "NUL"),
        ({"filters": {"name": {"equals": "\ud800"}}}, "name.equals"),
        ({"filters": {"id": {"range": {"from": 5, "to": 4}}}}, "the range ends (4) before it begins (5)"),
        ({"filters": {"id": {"range": {}}}}, "a range needs from, to, or both"),
        ({"filters": {"id": {"range": {"form": 1}}}}, "there is no 'form'; did you mean from?"),
        ({"filters": {"rate": {"equals": "NaN"}}}, "finite"),
        ({"filters": {"score": {"range": {"from": "inf"}}}}, "finite"),
        ({"filters": {"at": {"equals": "yesterday"}}}, "write a day as 2026-11-21"),
        ({"filters": {"at": {"equals": 5}}}, "write a day as 2026-11-21"),
        ({"filters": {"wall": {"range": {"to": "2026-01-01T00:00:00Z"}}}}, "name no zone"),
        ({"filters": {"day": {"equals": "2026-02-30"}}}, "day"),
        ({"filters": {"key": {"equals": "x"}}}, "'x' is not a UUID"),
        ({"requested_by": "x" * 1_001}, "at most 1000"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_valid_ones(given: dict[str, Any], message: str) -> None:
    refused = refusal(given)
    assert message in refused
    assert len(refused) < 500


def test_a_filter_of_texts_takes_values_without_a_label() -> None:
    texts = {**JSON["filters"], "status": {"operators": ["equals", "in"], "type": "text"}}
    made = options({**JSON, "filters": texts}).model_validate({"filters": {"status": {"equals": "LOST"}}})
    assert made.model_dump()["filters"]["status"]["equals"] == "LOST"


def test_a_preset_may_be_required_and_may_not_exist() -> None:
    required = options({**JSON, "preset_required": True})
    with pytest.raises(
        ValidationError, match="choose one of the presets; there are essential, everything, new"
    ):
        required.model_validate({})
    assert required.model_validate({"preset": "new"}).preset == "new"
    none = options({"source": {"table": "t"}, "columns": [{"name": "id"}]})
    with pytest.raises(ValidationError, match="this export has none"):
        none.model_validate({"preset": "x"})
    with pytest.raises(ValidationError, match="there is no 'id'"):
        none.model_validate({"filters": {"id": {"equals": "1"}}})
    with pytest.raises(ValidationError, match="There are none"):
        none.model_validate({"sort": ["id"]})


@pytest.mark.parametrize(
    "name", ["copy", "json", "schema", "_x", "model_dump", "model_config", "class", "__init__"]
)
def test_filters_may_have_any_name(name: str) -> None:
    model = options(
        {"source": {"table": "t"}, "columns": [{"name": name}], "filters": {name: {"operators": ["equals"]}}}
    )
    made = model.model_validate({"filters": {name: {"equals": "x"}}})
    given = {name: {"equals": "x"}}
    assert made.model_dump(mode="json", by_alias=True, exclude_none=True)["filters"] == given
    with pytest.raises(ValidationError, match=f"There is {name}"):
        model.model_validate({"filters": {"unknown": {}}})


def test_columns_are_the_named_ones_or_the_presets_or_all_usual_ones() -> None:
    def got(**given: Any) -> list[str]:
        made = Options.model_validate(given)
        names = [column.name for column in select_columns(SPEC, made)]
        assert names == [
            column.name for column in select_columns(SPEC, made.model_dump(mode="json", by_alias=True))
        ]
        return names

    usual = [column.name for column in SPEC.columns if column.name not in ("data", "secret", "half")]
    assert got() == usual
    assert got(preset="essential") == ["name", "id"]
    assert got(preset="essential", columns=["data", "id"]) == ["data", "id"]
    assert got(preset="everything") == got(preset="new") == [c.name for c in SPEC.columns if not c.hidden]


def test_columns_that_computed_ones_need_are_read() -> None:
    assert [column.name for column in find_needed_columns(SPEC, [SPEC.column("twice")])] == [
        "secret",
        "twice",
        "half",
    ]


def test_annotations_are_plain_and_documented() -> None:
    """The launchpad is made of them."""

    def check(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for field in kind.model_fields.values():
                assert field.description
                check(field.annotation)
        elif get_origin(kind) in (tuple, Union, UnionType):
            for part in get_args(kind):
                check(part)
        elif get_origin(kind) is not Literal:
            assert kind in (bool, int, float, str, Decimal, date, datetime, type(None), ...)

    check(Options)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["2026-01-01", "2026-01-01T00:00:00+01:00", "0001-01-01", "NEW", "1", "-1.5", "true"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["from", "to", "equals", "x"]), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["columns", "preset", "sort", "requested_by", "x"]),
        _VALUES | st.lists(st.sampled_from(["id", "-id", "at", "name"])),
        max_size=2,
    ),
    st.dictionaries(
        st.sampled_from([*SPEC.filters, "x"]),
        st.dictionaries(
            st.sampled_from(["equals", "in", "in_", "range", "range_", "contains", "is_null"]),
            _VALUES,
            max_size=2,
        ),
        max_size=3,
    ),
)
def test_anything_is_refused_or_the_same_again_from_its_json(
    given: dict[str, Any], filters: dict[str, Any]
) -> None:
    try:
        made = Options.model_validate({**given, "filters": filters})
    except ValidationError:
        return
    text = json.dumps(made.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert Options.model_validate(json.loads(text)) == made


@pytest.mark.parametrize("text", ["1e999999999", "-1e999999999", "9" * 5000])
@pytest.mark.parametrize("name", ["id", "rate", "cents", "score"])
def test_numbers_beyond_all_measure_are_refused_at_once(name: str, text: str) -> None:
    """As an int, 1e999999999 would fill the memory."""
    begun = time.process_time()
    with pytest.raises(ValidationError) as refused:
        one(name, "range", {"from": text})
    assert time.process_time() - begun < 1
    assert len(str(refused.value)) < 1000


def test_many_values_are_refused_with_a_short_message() -> None:
    begun = time.process_time()
    with pytest.raises(ValidationError) as refused:
        one("id", "in", list(range(100_000)))
    assert time.process_time() - begun < 2
    assert "10000 items" in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert len(one("id", "in", list(range(10_000)))) == 10_000
