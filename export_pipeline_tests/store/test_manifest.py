import json
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.schema import Schema
from export_pipeline.store.manifest import Manifest, ManifestError, changed_cells

SHA = "0" * 64


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "name": "takeoff-csv",
        "path": "2026-01-31.csv",
        "bytes": 10,
        "hash": f"sha256:{SHA}",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "rows": 2,
        "dataset": "takeoff",
        "snapshot_at": datetime(2026, 2, 1, 3, 4, 5, tzinfo=UTC),
    }
    return Manifest(**(fields | changes))


def test_a_manifest_is_a_frictionless_resource() -> None:
    columns = [Column("k", kind.value.title(), kind) for kind in Kind]
    data = json.loads(manifest(schema=Schema.of(columns), scope="ü/1").to_json())
    assert (data["name"], data["path"], data["bytes"]) == ("takeoff-csv", "2026-01-31.csv", 10)
    assert data["hash"] == f"sha256:{SHA}"
    assert (data["format"], data["mediatype"], data["encoding"]) == ("csv", "text/csv", "utf-8")
    types = {field["name"]: field["type"] for field in data["schema"]["fields"]}
    assert types == {
        **dict.fromkeys(("Text", "Uuid", "Enum", "Url"), "string"),
        **dict.fromkeys(("Decimal", "Money", "Percent", "Float"), "number"),
        "Integer": "integer",
        "Boolean": "boolean",
        "Date": "date",
        "Timestamp": "datetime",
        "Json": "any",
    }
    assert {"name": "Uuid", "type": "string", "format": "uuid"} in data["schema"]["fields"]
    assert data["scope"] == "ü/1"
    assert data["snapshot_at"] == "2026-02-01T03:04:05Z"


def test_a_manifest_holds_any_option_and_text() -> None:
    hostile = manifest(
        scope="a\ud800b",
        options={
            "when": date(2026, 1, 1),
            "ids": (UUID(int=1),),
            "limit": Decimal("1.10"),
            "x": float("nan"),
        },
        filters={"\udc00": {"b", "a"}},
        warnings=["\ud800"],
        changed=changed_cells(
            Counter({("cut", "Notes\ud800"): 3, ("cut", "Name"): 1, ("guarded", "Name"): 2})
        ),
        totals={"Quantity": float("inf"), "Cost": 12.5, "None": None},
    )
    data = json.loads(hostile.to_json())
    assert data["scope"] == "a\ufffdb"
    assert data["options"] == {
        "when": "2026-01-01",
        "ids": ["00000000-0000-0000-0000-000000000001"],
        "limit": "1.10",
        "x": None,
    }
    assert data["filters"] == {"\ufffd": ["a", "b"]}
    assert data["changed"] == {"cut": {"Name": 1, "Notes\ufffd": 3}, "guarded": {"Name": 2}}
    values = {column: total["value"] for column, total in data["totals"].items()}
    assert values == {"Quantity": "Infinity", "Cost": "12.5"}
    assert Manifest.from_json(hostile.to_json()) == hostile


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters())),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters()), inner)),
    max_leaves=10,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(st.characters()), json_values), st.lists(st.text(st.characters())))
def test_a_manifest_is_read_back_unchanged(options: dict[str, Any], warnings: list[str]) -> None:
    written = manifest(options=options, warnings=warnings)
    assert Manifest.from_json(written.to_json()) == written
    assert Manifest.from_json(written.to_json()).to_json() == written.to_json()


def test_a_later_version_s_fields_are_no_error() -> None:
    data = json.loads(manifest().to_json()) | {"profile": "tabular-data-resource"}
    assert Manifest.from_json(json.dumps(data).encode()) == manifest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hash": "md5:00"}, "hash"),
        ({"hash": None}, "hash"),
        ({"bytes": -1}, "bytes"),
        ({"rows": "many"}, "rows"),
        ({"snapshot_at": "2026-01-01T00:00:00"}, "snapshot_at: .*timezone"),
        ({"schema": {"fields": [{"name": "x"}]}}, r"schema\.fields\.0\.type"),
    ],
)
def test_a_damaged_manifest_says_where(change: dict[str, Any], says: str) -> None:
    data = json.loads(manifest().to_json()) | change
    with pytest.raises(ManifestError, match=f"The manifest is damaged: {says}"):
        Manifest.from_json(json.dumps(data).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"null", manifest().to_json()[:-10]])
def test_a_damaged_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match="The manifest is damaged: the whole: "):
        Manifest.from_json(data)
