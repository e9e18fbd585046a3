import re
from urllib.parse import unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from export_pipeline.store.keys import check_key, manifest_key, request_key, scope_segment, window_key

# Small alphabets make collisions likely; the full one brings everything else.
hostile = st.text(alphabet="./~%\\aA2E\x00\u202e\ud800é ", min_size=1, max_size=6)
names = st.one_of(
    hostile,
    st.text(st.characters(), min_size=1, max_size=300),
    st.sampled_from(["all", "%61ll", "..", ".", "/", "a.csv", "a", "A", "x" * 180, "x" * 181, "é" * 400]),
)
scopes = st.one_of(st.none(), names)
extensions = st.sampled_from([".csv", "csv", "csv.gz", "gz", "xlsx", "json"])


@pytest.mark.slow
@given(st.tuples(scopes, names, names, names), st.tuples(scopes, names, names, names))
def test_different_windows_have_different_keys(
    one: tuple[str | None, str, str, str], other: tuple[str | None, str, str, str]
) -> None:
    assert (window_key(*one, "csv") == window_key(*other, "csv")) == (one == other)


@given(scopes, names, extensions, scopes, names, extensions)
def test_different_requests_have_different_keys(
    scope: str | None, name: str, extension: str, scope2: str | None, name2: str, extension2: str
) -> None:
    same = (scope, name, extension.strip(".")) == (scope2, name2, extension2.strip("."))
    assert (request_key(scope, name, extension) == request_key(scope2, name2, extension2)) == same


@given(scopes, names, scopes, names, names, names, extensions)
def test_no_file_is_another_s_folder_or_manifest(
    scope: str | None,
    export: str,
    scope2: str | None,
    dataset: str,
    cadence: str,
    window: str,
    extension: str,
) -> None:
    request = request_key(scope, export, extension)
    scheduled = window_key(scope2, dataset, cadence, window, extension)
    assert not scheduled.startswith(request + "/")
    assert not scheduled.startswith(manifest_key(request) + "/")
    assert len({request, scheduled, manifest_key(request), manifest_key(scheduled)}) == 4


@given(scopes, names, names, names, extensions)
def test_a_scope_stays_in_its_folder(
    scope: str | None, dataset: str, cadence: str, window: str, extension: str
) -> None:
    for key in (
        window_key(scope, dataset, cadence, window, extension),
        request_key(scope, window, extension),
    ):
        assert key.startswith(f"exports/{scope_segment(scope)}/")
        assert key.isascii()
        assert key.isprintable()
        parts = manifest_key(key).split("/")
        assert len(parts) in {3, 5}
        assert all(part and not part.startswith(".") and len(part) <= 255 for part in parts)
        assert len(manifest_key(key)) + 110 <= 1024
        assert check_key(manifest_key(key)) == manifest_key(key)


@pytest.mark.slow
@given(scopes, scopes)
def test_scopes_differ_even_where_case_does_not_once_capitals_are_escaped(
    one: str | None, other: str | None
) -> None:
    from export_pipeline.store.folder import _decode_case, _encode_case

    assume(one != other)
    first, second = scope_segment(one), scope_segment(other)
    assert _encode_case(first).casefold() != _encode_case(second).casefold()
    assert _decode_case(_encode_case(first)) == first


@given(names)
def test_a_short_name_can_be_read_back(name: str) -> None:
    segment = scope_segment(name)
    if "~" not in segment:
        assert unquote(segment, errors="surrogatepass") == name


def test_the_contract_s_examples() -> None:
    assert request_key("p1", "8f14e45f", ".csv") == "exports/p1/8f14e45f.csv"
    assert request_key(None, "8f14e45f", "xlsx") == "exports/all/8f14e45f.xlsx"
    assert (
        window_key("p1", "takeoff", "daily", "2026-01-31", "pdf") == "exports/p1/takeoff/daily/2026-01-31.pdf"
    )
    assert window_key("../b", "t", "daily", "w", "csv") == "exports/%2E.%2Fb/t/daily/w.csv"
    assert window_key("acme.com", "t", "daily", "w", "csv") == "exports/acme.com/t/daily/w.csv"
    assert request_key("all", "1", "csv") == "exports/%61ll/1.csv"
    long = window_key("x" * 181, "t", "daily", "w", "csv")
    assert re.fullmatch(r"exports/x{147}~[0-9a-f]{32}/t/daily/w\.csv", long)


@pytest.mark.parametrize(
    "extension", ["", ".", "a/b", "../x", "manifest.json", "x.manifest.json", "CSV", "csv\n"]
)
def test_a_wrong_extension_is_refused(extension: str) -> None:
    with pytest.raises(ValueError, match="not a file extension"):
        request_key("s", "1", extension)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="an empty scope"):
        request_key("", "1", "csv")
    with pytest.raises(ValueError, match="an empty window"):
        window_key("s", "d", "daily", "", "csv")


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a", "a/", "a//b", "../a", "a/../b", "a/.", ".hidden", "a/.b"),
        *("a\\b", "a\x00", "a\n", "é", "a b", "x" * 256, "a/" * 500 + "a"),
    ],
)
def test_a_store_refuses_what_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        check_key(key)
