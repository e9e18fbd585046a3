"""The exporter of a small export: what it cannot make leaves nothing behind, and it says why."""

import errno
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline.api import inline_export
from export_pipeline.api.inline_messages import Failure, InlineError, InlineRequest
from export_pipeline.datasets import small_export
from export_pipeline.datasets.loading import load_datasets
from export_pipeline.jobs import Ledger, LedgerUnavailableError
from export_pipeline.settings import Settings
from export_pipeline.store import upload
from export_pipeline.store.publish import publish as publish_file
from export_pipeline.tabular.options import Parts


@pytest.fixture
def exporter(settings: Settings, tmp_path: Path) -> inline_export.InlineExporter:
    return inline_export.InlineExporter(settings, load_datasets(), str(tmp_path))


def refused(exporter: inline_export.InlineExporter, settings: Settings, scope: str) -> Failure:
    """The reason why an export is not made, after a look that it has left nothing."""
    row = {"dataset": "records", "format": "csv", "scope": scope, "filters": {}, "columns": None, "options": {},
           "requested_by": None}  # fmt: skip
    with pytest.raises(InlineError) as caught:
        exporter.make(InlineRequest("7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11", row, {}))
    with Ledger(settings.jobs_url) as ledger:
        assert ledger.find() == []
    assert [path for path in Path(settings.store_url).rglob("*") if path.suffix == ".csv"] == []
    assert list(Path(exporter._folder).glob("7e1c*")) == []
    return caught.value.reason


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("file too large", Failure.TOO_LARGE),
        ("tables too large", Failure.TOO_LARGE),
        ("out of memory", Failure.TOO_LARGE),
        ("disk full", Failure.UNAVAILABLE),
        ("ledger away", Failure.UNAVAILABLE),
        ("source away", Failure.SOURCE_UNAVAILABLE),
        ("canceled and deleted", Failure.CANCELED),
    ],
)
def test_what_cannot_be_made_leaves_nothing_and_says_why(
    exporter: inline_export.InlineExporter, settings: Settings, accounts: list[str], broken: str, reason: Failure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(error: BaseException) -> Any:
        def run(*_: Any, **__: Any) -> Any:
            raise error

        return run

    match broken:
        case "file too large":
            monkeypatch.setattr(small_export, "MAX_FILE_BYTES", 100)
        case "tables too large":
            monkeypatch.setattr(inline_export, "MAX_TABLE_BYTES", 100)
        case "out of memory":
            monkeypatch.setattr(small_export, "sanitize", fail(MemoryError()))
        case "disk full":
            monkeypatch.setattr(upload, "write_all", fail(OSError(errno.ENOSPC, "No space left on device")))
        case "canceled and deleted":

            def publish(*args: Any, **more: Any) -> Any:
                result = publish_file(*args, **more)
                with Ledger(settings.jobs_url) as ledger:
                    (job,) = ledger.find()
                    ledger.canceled(job.id)
                    ledger.delete(job.id, lambda _: None)
                return result

            monkeypatch.setattr(inline_export, "publish", publish)
        case "ledger away":
            monkeypatch.setattr(exporter._ledger, "begin_inline", fail(LedgerUnavailableError("It is away.")))
        case "source away":
            away = settings.model_copy(update={"source_url": "postgresql://u:p@127.0.0.1:1/db"})
            exporter = inline_export.InlineExporter(away, load_datasets(), str(exporter._folder))
    assert refused(exporter, settings, accounts[0]) is reason


@pytest.mark.parametrize("parts", [Parts.model_construct(max_rows=100), Parts.model_construct(max_bytes=100)])
def test_an_export_of_several_parts_is_too_large(
    exporter: inline_export.InlineExporter, settings: Settings, accounts: list[str], parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The dataset asks for parts by default."""
    monkeypatch.setattr(small_export, "limits_of", lambda options, format: parts)
    assert refused(exporter, settings, accounts[0]) is Failure.TOO_LARGE


def test_a_dataset_asks_for_parts_by_default(settings: Settings, accounts: list[str], tmp_path: Path) -> None:
    datasets = dict(load_datasets())
    records = datasets["records"]
    attributes = records.attributes.model_copy(update={"options": {"parts": {"max_rows": 100}}})
    datasets["records"] = replace(records, attributes=attributes)
    exporter = inline_export.InlineExporter(settings, datasets, str(tmp_path))
    assert refused(exporter, settings, accounts[0]) is Failure.TOO_LARGE


def test_an_unforeseen_error_quotes_no_cell(
    exporter: inline_export.InlineExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise pa.ArrowInvalid("Failed to parse string: 'anna@example.org' as a scalar of type int32")

    monkeypatch.setattr(exporter, "make", fail)
    ours, theirs = Pipe()
    with ours, theirs:
        inline_export._answer(theirs, exporter, InlineRequest("7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11", {}, {}))
        answer = ours.recv()
    assert answer.reason is Failure.INTERNAL
    assert answer.message == "ArrowInvalid: the message may quote a value, and is not shown"
