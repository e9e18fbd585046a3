from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline import tabular
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import ExportData, PreviousGroup
from export_pipeline.core.tables import Table
from export_pipeline.orchestration.runs.staging import (
    StagingError,
    StagingGoneError,
    is_whole,
    load,
    load_all,
    save,
    save_all,
)
from export_pipeline.tabular.bundle import join


def export(dataset: str, **tables: Table) -> ExportData:
    facts: dict[str, Any] = {"options": {}, "subject": {}, "source_totals": {}, "changed": Counter()}
    return ExportData(
        dataset=dataset, shape=tabular, scope=None, title=dataset, tables=tables, window=None, spec={},
        snapshot_at=datetime(2026, 1, 1, tzinfo=UTC), source_rows=0, **facts,
    )  # fmt: skip


def fill_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the disk be full when text is written into a file whose name ends so."""
    write = Path.write_text

    def write_text(path: Path, *args: Any, **options: Any) -> int:
        if not path.name.endswith(name):
            return write(path, *args, **options)
        path.touch()  # as open() did before the write failed
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", write_text)


@pytest.mark.parametrize("name", ["exports", "export.json"])
def test_a_step_whose_last_file_fills_the_disk_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = export("letters")
    with monkeypatch.context() as patch:
        fill_disk(patch, name)
        with pytest.raises(OSError, match="No space left"):
            save_all([data], tmp_path)
    assert not is_whole(tmp_path)
    with pytest.raises(StagingGoneError):
        load_all(tmp_path, {"letters": data})
    save_all([data], tmp_path)
    assert [one.dataset for one in load_all(tmp_path, {"letters": data})] == ["letters"]


def test_tables_of_one_name_stay_apart_in_a_bundle(tmp_path: Path) -> None:
    """Every table dataset calls its table rows; one may come in shares, which count what they change."""
    letters = (Column("letter", "Letter", Kind.TEXT),)
    numbers = (Column("number", "Number", Kind.INTEGER),)
    shared = export("numbers")

    def share(first: int) -> Iterator[pa.RecordBatch]:
        shared.changed["cut", "rows.number"] += 1
        yield pa.record_batch({"number": pa.array([first, first + 1], pa.int64())})

    def whole() -> Iterator[pa.RecordBatch]:
        raise AssertionError("it is read by shares")

    shared.tables["rows"] = Table("rows", numbers, 4, whole, parts=(lambda: share(1), lambda: share(3)))
    plain = export("letters", rows=Table.of("rows", letters, pa.table({"letter": ["a", "b"]})))
    for members in ({"l": plain, "n": shared}, {"n": shared, "l": plain}):
        shared.changed.clear()
        save(join(export("both"), members), tmp_path)
        both = load(tmp_path, {"both": export("both")})
        assert both.tables["l.rows"].arrow().to_pydict() == {"letter": ["a", "b"]}
        assert both.tables["n.rows"].arrow().to_pydict() == {"number": [1, 2, 3, 4]}
        assert both.changed == {("cut", "n: rows.number"): 2}


def test_a_step_never_writes_into_another_steps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step's files are linked into another's; where only the first can be, it must not be written through."""
    numbers = (Column("number", "Number", Kind.INTEGER),)

    def part(first: int) -> Callable[[], Iterator[pa.RecordBatch]]:
        return lambda: iter([pa.record_batch({"number": pa.array([first, first + 1], pa.int64())})])

    fetched = export("numbers", rows=Table("rows", numbers, 4, part(0), parts=(part(1), part(3))))
    save(fetched, tmp_path / "fetched")
    before = {file.name: file.read_bytes() for file in (tmp_path / "fetched").glob("*.arrow")}
    assert len(before) == 2
    link, tries = Path.hardlink_to, []

    def once(path: Path, target: Path) -> None:
        tries.append(path)
        if len(tries) > 1:
            raise OSError(errno.EMLINK, "Too many links")
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", once)
    declared = {"numbers": fetched}
    save(load(tmp_path / "fetched", declared), tmp_path / "sanitized")
    assert len(tries) == 2
    assert {file.name: file.read_bytes() for file in (tmp_path / "fetched").glob("*.arrow")} == before
    assert load(tmp_path / "sanitized", declared).tables["rows"].arrow().to_pydict() == {
        "number": [1, 2, 3, 4]
    }


def test_sums_of_the_previous_period_are_staged(tmp_path: Path) -> None:
    group: PreviousGroup = {"value": None, "names": {"account": None}, "totals": {"price": "1.50"}}
    for number, previous in enumerate(([group], [], None)):
        fetched = replace(export("sales"), previous_totals={"price": "1.50"}, previous_groups=previous)
        save(fetched, tmp_path / str(number))
        loaded = load(tmp_path / str(number), {"sales": fetched})
        assert (loaded.previous_totals, loaded.previous_groups) == ({"price": "1.50"}, previous)


def test_staged_rows_are_refused_when_the_dataset_is_declared_otherwise_now(tmp_path: Path) -> None:
    """A re-execution would else compute columns of a new defs.yaml from the rows of the old one."""
    fetched = export("numbers")
    save(fetched, tmp_path)
    assert load(tmp_path, {"numbers": fetched}).shape is tabular
    for declared in ({"numbers": replace(fetched, spec={"columns": []})}, {}):
        with pytest.raises(StagingError, match=r"The defs\.yaml of numbers has changed .* start a new run"):
            load(tmp_path, declared)


@pytest.mark.parametrize("kinds", [(Kind.TEXT, Kind.BOOLEAN), (Kind.TEXT,)])
def test_shares_of_staged_rows_map_no_file_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[Kind, ...]
) -> None:
    columns = tuple(Column(f"c{number}", "C", kind) for number, kind in enumerate(kinds))
    values = {Kind.TEXT: [str(number) for number in range(100)], Kind.BOOLEAN: [True] * 100}
    rows = pa.table({column.name: values[column.kind] for column in columns})
    save(export("letters", rows=Table.of("rows", columns, rows, batch_rows=7)), tmp_path)
    with monkeypatch.context() as patch:
        patch.delattr(pa, "memory_map")  # mapped pages would count as memory of the process
        staged = load(tmp_path, {"letters": export("letters")}).tables["rows"]
        shares = [staged.share(start, min(start + 13, 100)).arrow() for start in range(0, 100, 13)]
    assert pa.concat_tables(shares).to_pydict() == rows.to_pydict()
