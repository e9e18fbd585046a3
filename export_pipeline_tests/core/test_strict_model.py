from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from export_pipeline.core.strict_model import Strict, describe_unknown_name
from export_pipeline.tabular.validation import CheckedTableSpec


def refusal(text: str) -> str:
    with pytest.raises(ValidationError) as caught:
        CheckedTableSpec.model_validate({"source": {"table": "t"}, **yaml.safe_load(text)})
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in caught.value.errors())


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("{name: price, type: money(12,2)}", 'type: "money(12,2)"'),
        ("{name: price, type: decimal(12, 2), header: Price}", 'type: "decimal(12,2)"'),
        ("{name: a, type: text, compute: coalesce(b, c, d)}", 'compute: "coalesce(b,c,d)"'),
    ],
)
def test_a_value_that_yaml_cuts_at_its_comma_is_to_be_quoted(column: str, problem: str) -> None:
    message = refusal(f"columns: [{column}]")
    field = problem.partition(":")[0]
    assert message.startswith(f"columns.0.{field}: ")
    assert f"inside {{…}} quote it, {problem}" in message
    assert "there is no" not in message


def test_names_that_are_not_known_stay_so_beside_brackets() -> None:
    assert "there is no 'headr'; did you mean header?" in refusal(
        'columns: [{name: price, type: "money(12,2)", headr: }]'
    )
    assert "there is no 'more'" in refusal("columns: [{name: price, description: (open, more: }]")


@pytest.mark.parametrize("value", [5, "id", ["id"], None])
def test_the_error_for_a_value_that_is_not_an_object_shows_its_keys(value: Any) -> None:
    class Point(Strict):
        x: int = 0
        y: int = 0

    class Line(Strict):
        start: Point = Point()

    with pytest.raises(ValidationError) as caught:
        Line.model_validate({"start": value})
    (error,) = caught.value.errors()
    assert error["loc"] == ("start",)
    assert error["msg"] == 'Value error, it must be an object such as {"x": …}; there are x, y'
    assert Line.model_validate({"start": Point(x=1)}).start.x == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("-totl", "did you mean -total?"),
        ("totl", "did you mean total?"),
        ("-nte", "did you mean -note?"),
        ("-id_", "did you mean -id?"),
    ],
)
def test_the_sign_of_a_descending_column_is_no_letter_of_its_name(name: str, message: str) -> None:
    known = [one for column in ("id", "note", "total") for one in (column, f"-{column}")]
    assert message in describe_unknown_name(name, known)
