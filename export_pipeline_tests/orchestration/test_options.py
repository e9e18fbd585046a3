"""Options that are wrong are told in the words of those who gave them, not in those of a library."""

import re
from typing import Any

import pytest

from export_pipeline.datasets.options import OptionError, parse_options
from export_pipeline.formats.options import FormatOptions
from export_pipeline.tabular import options

Table = options(
    {
        "source": {"table": "t"},
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "rate", "type": "decimal(12,4)"},
            {"name": "paid", "type": "boolean"},
            {"name": "day", "type": "date"},
            {"name": "status", "type": "enum", "labels": {"NEW": "New", "OLD": "Old"}},
        ],
        "filters": {
            "id": {"operators": ["in", "range"]},
            "rate": {"operators": ["equals"]},
            "paid": {"operators": ["equals"]},
            "day": {"operators": ["equals", "range"]},
            "status": {"operators": ["equals", "in", "is_null"]},
        },
        "sort": ["id"],
    }
)
LIBRARY = re.compile(r"[Ii]nput|instance|tuple|dictionary|valid |parse|_filter|_range|Value error|Options")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"filters": {"status": "NEW"}}, 'option filters.status: it must be an object such as {"equals": …}; there are equals, in, is_null'),
        ({"filters": {"day": {"range": "2026"}}}, 'filters.day.range: it must be an object such as {"from": …}'),
        ({"filters": "x"}, "option filters: it must be an object"),
        ({"filters": {"status": {"equals": "new"}}}, """filters.status.equals: it must be 'NEW' or 'OLD', not "new\""""),
        ({"filters": {"status": {"in": "NEW"}}}, 'filters.status.in: it must be a list, not "NEW"'),
        ({"filters": {"status": {"in": []}}}, "filters.status.in: it must list at least 1, not []"),
        ({"filters": {"status": {"is_null": "perhaps"}}}, "it must be true or false"),
        ({"filters": {"id": {"in": [1, "two"]}}}, 'filters.id.in.1: it must be a whole number, not "two"'),
        ({"filters": {"id": {"in": [2**63]}}}, "it must be less than 9223372036854775808"),
        ({"filters": {"id": {"in": [1.5]}}}, "it must be a whole number, not 1.5"),
        ({"filters": {"rate": {"equals": "much"}}}, "it must be a number"),
        ({"filters": {"rate": {"equals": "NaN"}}}, "it must be a finite number"),
        ({"filters": {"rate": {"equals": "1" * 80}}}, "it must have at most 76 digits"),
        ({"filters": {"paid": {"equals": 7}}}, "it must be true or false, not 7"),
        ({"filters": {"day": {"equals": "tomorrow"}}}, "it must be a day such as 2026-11-21"),
        ({"filters": {"day": {"equals": 5}}}, "it must be a day such as 2026-11-21, not 5"),
        ({"columns": 5}, "option columns: it must be a list, not 5"),
        ({"columns": [5]}, "option columns.0: it must be a string, not 5"),
        ({"requested_by": "x" * 2000}, "option requested_by: it must have at most 1000 characters"),
        ({"csv_delimiter": "abc"}, "option csv_delimiter: it must be 'comma', 'semicolon', 'tab' or 'pipe', not \"abc\""),
        ({"csv_delimiter": None}, "not null"),
        ({"zip_formats": ["csv", "doc"]}, "option zip_formats: a ZIP cannot hold doc; there are csv, excel, pdf, json"),
        ({"zip_formats": ["zip"]}, "option zip_formats: a ZIP cannot hold zip"),
        ({"zip_formats": []}, "option zip_formats: name one or more formats, each once"),
        ({"zip_formats": ["csv", "csv"]}, "option zip_formats: name one or more formats, each once"),
        ({"csv_bom": "x"}, "option csv_bom: it must be true or false"),
    ],
)  # fmt: skip
def test_wrong_options_are_reported_plainly(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_options(given, Table, FormatOptions)
    message = str(caught.value)
    assert problem in message
    assert LIBRARY.search(message) is None
    assert len(message) < 300
