"""The check of JSON text agrees with another parser, for each text by itself."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.core.json_text import is_valid_json
from export_pipeline_tests.takeoff.test_geometry import TEXTS


@settings(max_examples=80, deadline=None)
@given(st.lists(TEXTS | st.none()))
def test_valid_json_agrees_with_another_parser(texts: list[str | None]) -> None:
    assert is_valid_json(pa.array(texts, pa.string())).to_pylist() == [_loads(text) for text in texts]


_DIGITS = st.integers(1, 320).map(lambda count: "17976931348623158".ljust(count, "0")[:count])
_HUGE_NUMBERS = st.tuples(
    st.sampled_from(["", "-"]),
    _DIGITS | st.just("0"),
    st.just("") | _DIGITS.map(lambda digits: f".{digits}"),
    st.just("")
    | st.tuples(st.sampled_from(["e", "E", "e+", "e-", "e0"]), st.integers(0, 400)).map(
        lambda exponent: f"{exponent[0]}{exponent[1]}"
    ),
).map("".join)
_HOLDERS = st.sampled_from(
    ['{"a":%s}', '{"a": %s}', '{"a":[1,%s]}', '{"a":{"b":\t%s }}', '{"a":"%s"}', "%s", "{%s}", '{"a":%s']
)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(_HOLDERS, _HUGE_NUMBERS).map(lambda both: both[0] % both[1])))
def test_each_value_is_judged_by_itself(texts: list[str]) -> None:
    """A number beyond the doubles is none, whether the batch has others that the parser refuses or not."""
    valid = is_valid_json(pa.array(texts, pa.string())).to_pylist()
    assert valid == [is_valid_json(pa.array([text])).to_pylist()[0] for text in texts]
    assert valid == [_loads(text) for text in texts]


def test_hostile_json_is_judged_as_another_parser_does() -> None:
    texts = [
        '{"a":NaN}', '{"a":-Infinity}', '{"a":"NaN"}', '{"a":1}{"b":2}', "{} null {}", '{"a":1}\n',
        '{"a":"\n"}', '{"a":1e400}', '{"a":"\\ud800"}', '{"a":.5}', "{'a':1}", '{"a":1,}', "", " ", None,
        "null", "1", "{", '{"":0}',
        '{"a":' + "[" * 900 + "]" * 900 + "}", '{"a":' + "[" * 300_000 + "]" * 300_000 + "}",
    ]  # fmt: skip
    for rows in (texts, ["{}"] * 500 + texts):
        assert is_valid_json(pa.array(rows, pa.string())).to_pylist() == [_loads(text) for text in rows]


def _loads(text: str | None) -> bool:
    try:
        orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return False
    return True
