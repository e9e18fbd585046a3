"""Scopes are found by their ids, by their names, and by what Dagster shows."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from export_pipeline.datasets.scopes import ScopeNameError, find_scope, find_scope_of_any
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError


def test_a_scope_is_found_by_id_by_name_and_by_what_dagster_shows() -> None:
    scopes = {"8d2e": "Corner shop", "77aa": "corner shop", "a (b)": "Twin", "b": "Twin", "Twin": "Other"}
    assert find_scope(scopes, "8d2e") == "8d2e"
    assert find_scope(scopes, "Corner shop") == "8d2e"
    assert find_scope(scopes, "Old name (77aa)") == "Old name (77aa)"  # so short an id may be of a name
    assert find_scope(scopes, "a (b)") == "a (b)"
    assert find_scope(scopes, "Twin") == "Twin"  # an id goes before a name
    assert find_scope(scopes, " OTHER ") == "Twin"
    assert find_scope(scopes, "nobody") == "nobody"
    with pytest.raises(
        ScopeNameError, match=r"2 scopes are called 'CORNER SHOP'; give one of the ids 8d2e, 77aa."
    ):
        find_scope(scopes, "CORNER SHOP")


def test_the_ids_of_many_scopes_of_one_name_are_not_all_listed() -> None:
    with pytest.raises(ScopeNameError, match=r"12 scopes .* 9 and 2 more"):
        find_scope({str(number): "Shop" for number in range(12)}, "Shop")


def test_a_name_is_found_however_its_accents_and_blanks_are_encoded() -> None:
    scopes = {"1": "Café Süd", "2": "Cafe Sud"}
    assert find_scope(scopes, "Cafe\u0301 Su\u0308d") == "1"
    assert find_scope(scopes, "Caf\u00e9\u00a0S\u00dcD ") == "1"
    assert find_scope(scopes, "cafe sud") == "2"
    with pytest.raises(ScopeNameError, match="2 scopes are called"):
        find_scope({"1": "Caf\u00e9", "2": "Cafe\u0301"}, "CAF\u00c9")


def test_a_name_never_means_the_rows_of_another_scope() -> None:
    assert find_scope({"2": "Other", "9": "Phase (2)"}, "Phase (2)") == "9"
    assert find_scope({"2": "Other"}, "Phase (2)") == "Phase (2)"
    assert find_scope({"2": "Other"}, "Other (2)") == "2"
    assert find_scope({"7": "1001"}, "1001") == "1001"  # the id of a deleted scope, not a name
    uuid, gone = "8d2efaa9-91d3-582b-b26b-886174d9a1a4", "8d2efaa9-91d3-582b-b26b-886174d9a1a5"
    assert find_scope({uuid: "Corner shop"}, f"Its first name ({uuid})") == uuid
    assert find_scope({uuid: gone}, gone) == gone
    assert find_scope({"acme": "1001"}, "1001") == "acme"


def find_in(known: Mapping[str, Any], given: str, seen: list[str] | None = None, stored: bool = True) -> str:
    """Find a scope in datasets whose scopes are these, or cannot be read."""
    datasets: list[Any] = [SimpleNamespace(dataset=name, scoped=True) for name in known]

    def read(dataset: Any) -> Mapping[str, str]:
        if isinstance(scopes := known[dataset.dataset], Exception):
            raise scopes
        return dict(scopes)

    return find_scope_of_any([*datasets, SimpleNamespace(scoped=False)], read, given, seen, stored=stored)


def test_a_scope_is_found_in_any_dataset_unless_its_name_is_that_of_several() -> None:
    known = {"records": {"11": "Acme", "12": "Shop"}, "plans": {"aa": "ACME", "12": "Shop"}}
    assert find_in(known, "shop") == "12"  # one scope of two datasets
    assert find_in(known, "aa") == "aa"
    assert find_in(known, "nobody") == "nobody"
    with pytest.raises(
        ScopeNameError, match=r"2 scopes .*'acme'; give one of the ids 11 \(records\), aa \(plans\)\."
    ):
        find_in(known, "acme")
    assert find_in(known, "acme", seen=["aa"]) == "aa"
    assert find_in(known, "11", seen=["aa"]) == "11"
    twins = {"records": {"1": "Twins", "2": "Twins"}, "plans": {"3": "Twins"}}
    with pytest.raises(ScopeNameError, match=r"3 scopes .* 1 \(records\), 2 \(records\), 3 \(plans\)"):
        find_in(twins, "Twins")


def test_a_name_may_be_that_of_a_dataset_that_cannot_be_read_now() -> None:
    away = SourceUnavailableError("The source database cannot be reached.")
    known = {"records": {"11": "Acme"}, "plans": away}
    assert find_in(known, "11") == "11"
    with pytest.raises(SourceUnavailableError):
        find_in(known, "Acme")
    assert find_in(known, "Acme", stored=False) == "11"
    for stored in (True, False):
        with pytest.raises(SourceUnavailableError):
            find_in(known, "Shop", stored=stored)
        with pytest.raises(ScopeNameError, match="2 scopes"):
            find_in({"records": {"11": "Acme", "12": "Acme"}, "plans": away}, "Acme", stored=stored)
    assert find_in({"records": {"11": "Acme"}, "plans": SourceError("It lacks a table.")}, "Acme") == "11"
