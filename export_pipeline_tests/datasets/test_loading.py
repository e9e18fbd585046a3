"""The datasets are the same with and without Dagster."""

import subprocess
import sys
from pathlib import Path

import pytest

from export_pipeline.components.loading import datasets
from export_pipeline.datasets.loading import DefsError, load_datasets


def test_datasets_read_without_dagster_are_those_that_dagster_reads() -> None:
    with_dagster, without = datasets(), load_datasets()
    assert list(without) == list(with_dagster)
    for name, dataset in without.items():
        assert vars(dataset) == {field: getattr(with_dagster[name], field) for field in vars(dataset)}


@pytest.mark.slow
def test_reading_them_imports_no_dagster() -> None:
    script = (
        "import sys; from export_pipeline.datasets.loading import load_datasets; load_datasets();"
        "sys.exit(int(any(name.partition('.')[0] == 'dagster' for name in sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=240).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type: export_pipeline.TableExport\nattributes: {dataset: a}", "description: it is missing"),
        ("type: [", "while parsing"),
        ("type: export_pipeline.BundleExport\nattributes: {dataset: a, description: a, title: a, "
         "datasets: [b]}", "dataset 'b' cannot be loaded"),
        ("type: other.Component\nattributes: {}", "There is no dataset in"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_reported_in_one_sentence_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "dg.toml").touch()
    (tmp_path / "defs" / "a").mkdir(parents=True)
    (tmp_path / "defs" / "a" / "defs.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DefsError, match=r"defs") as caught:
        load_datasets()
    assert message in str(caught.value)
