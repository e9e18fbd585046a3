"""Random tables, exported from a database as a run does it."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.layout import Layout
from export_pipeline.core.sanitize import sanitize
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.runs.staging import load, save
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.hostile.tables import rules
from export_pipeline_tests.hostile.tables.samples import KINDS, Sample, fill, samples

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "20"))
COUNTER = itertools.count()


@dataclass
class Exported:
    """A sample's export and its files."""

    sample: Sample
    folder: Path
    data: ExportData
    layout: Layout
    options: Any  # a FormatOptions, a class that is made at run time

    def file(self, format: str) -> tuple[Path, Rendered]:
        """The file of a format, which must prove itself, and what its renderer counted."""
        path = self.folder / f"export{FORMATS[format].extension}"
        options = self.options.of(format)
        with path.open("wb") as out:
            done = FORMATS[format].render(self.layout, out, options)
        facts, proof = FORMATS[format].read_back(path, options), FORMATS[format].proof(self.layout, options)
        assert facts.problems == ()
        assert facts.rows == done.rows == proof.rows == self.sample.rows
        for column, (total, tolerance) in proof.totals.items():
            assert abs(facts.totals.get(column, 0.0) - total) <= tolerance, (
                format,
                column,
                facts.totals,
                total,
            )
        return path, done


def exported(url: str, sample: Sample, folder: Path) -> Exported:
    """By the stages of a run, with staging between them."""
    fill(url, sample)
    spec = CheckedTableSpec.model_validate(sample.spec).model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    options = FormatOptions(**sample.options)
    request = Request("hostile", tabular, spec, None, tabular.options(spec).model_validate({}), None)
    with open_snapshot(url) as snapshot:
        data = source.read(snapshot, request)
        save(replace(data, options={**data.options, **options.model_dump()}), folder / "read")
    save(tabular.build(load(folder / "read", {data.dataset: data})), folder / "built")
    save(sanitize(load(folder / "built", {data.dataset: data})), folder / "clean")
    data = load(folder / "clean", {data.dataset: data})
    assert data.changed == rules.staged(sample)
    return Exported(sample, folder, data, tabular.layout(data), options)


def each_sample(
    database: tuple[str, str, Path],
    check: Callable[[Exported], None],
    most: int = 30,
    kinds: tuple[str, ...] = KINDS,
) -> None:
    """Run a check on many random exports."""
    dialect, url, folder = database

    # Samples are small as they are; making them smaller takes minutes.
    @settings(
        phases=[Phase.generate],
        max_examples=EXAMPLES, deadline=None, derandomize="HOSTILE_EXAMPLES" not in os.environ, database=None,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(samples(dialect, most, kinds))
    def run(sample: Sample) -> None:
        place = folder / str(next(COUNTER))
        place.mkdir()
        try:
            check(exported(url, sample, place))
        finally:
            shutil.rmtree(place)

    run()
