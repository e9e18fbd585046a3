"""Options of formats that a dataset does not offer are refused by it, not by Dagster's config."""

import pytest

from export_pipeline.components.loading import datasets
from export_pipeline.datasets.options import OptionError


def test_an_option_of_a_format_that_is_not_offered(read_once: None) -> None:
    there = datasets()
    with pytest.raises(OptionError) as caught:
        there["sellers"].typed_options({"zip_formats": "csv"})
    assert str(caught.value) == (
        "option zip_formats: sellers has no such format; it has csv, json, jsonl, excel, pdf, parquet"
    )
    assert there["archive"].typed_options({"zip_formats": "csv", "pdf_title": "x"})["zip_formats"] == ["csv"]
    assert there["takeoff"].typed_options({"zip_formats": "csv,jsonl", "json_money": "minor"})
    with pytest.raises(
        OptionError, match=r"option dwca_license: takeoff has no such format; it has csv, excel"
    ):
        there["takeoff"].typed_options({"dwca_license": "CC0-1.0"})  # its ZIPs hold no such archive either
    assert there["occurrences"].typed_options({"dwca_license": "CC0-1.0"})
