"""Partition keys of scopes: names for people, ids for the machine."""

import pytest

from export_pipeline.datasets.partition_keys import (
    MAX_KEY_BYTES,
    label_of_key,
    labelled_ending,
    scope_key,
    scope_of_key,
)

ODD_SCOPES = [
    "a|b", "|", "a|2026-01-01", "100%", "%7C", "a...b", "....", "a\nb", "\t", "\r\n", "\x00", "\x7f", "a\u2028b", "\x85",
    " a ", "a,b", "[a]", "'\"", "漢字", "🏗", "..", "-", "a/b", "A" * 900, "ü" * 400, "x (y)", "(y)", "x (y", ")", " (", "x%20(y)",
]  # fmt: skip
ODD_NAMES = [
    "Corner shop", "a|b", "one\ntwo", "x" * 300, "=1+1", "@cmd", "Shop (8d2e)", "...", "a...b", "\u202eevil", "", " ", "%28", "漢字",
    '"quoted", [1]*', "'", "＝1", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("scope", ODD_SCOPES)
def test_a_key_leads_back_to_its_scope_whatever_its_name_is(scope: str) -> None:
    for name in (None, scope, *ODD_NAMES):
        key = scope_key(scope, name)
        assert scope_of_key(key) == scope
        assert not any(sign in key for sign in ("|", "...", *"\a\b\f\n\r\t\v\0"))
        assert len(key.encode()) <= MAX_KEY_BYTES
        assert label_of_key(key) is None or key.endswith(labelled_ending(scope))


def test_keys_of_different_scopes_differ() -> None:
    assert len({scope_key(scope) for scope in ODD_SCOPES}) == len(ODD_SCOPES)
    assert len({scope_key(scope, "One name") for scope in ODD_SCOPES}) == len(ODD_SCOPES)


def test_names_are_one_short_line_that_is_no_formula() -> None:
    labels = {name: label_of_key(scope_key("8d2e", name)) for name in ODD_NAMES}
    assert labels["Corner shop"] == "Corner shop"
    assert labels["one\ntwo"] == "one two"
    assert labels["x" * 300] == "x" * 79 + "…"
    assert labels["=1+1"] == "1+1"
    assert labels["Shop (8d2e)"] == "Shop (8d2e)"
    assert labels["\u202eevil"] == "evil"
    assert labels[""] is None
    assert scope_key("8d2e", "Corner shop") == "Corner shop (8d2e)"
