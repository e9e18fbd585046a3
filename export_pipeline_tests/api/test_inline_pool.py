"""The process that reads scopes for the service: it answers, says what is wrong, and is replaced when it dies."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.api import inline_pool
from export_pipeline.api.inline_messages import SourceQuestion
from export_pipeline.api.inline_pool import ExportPool
from export_pipeline.api.service import Service
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.demo import archive
from export_pipeline.settings import Settings
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError


@pytest.fixture
def pool(settings: Settings, warm_workers: None) -> Iterator[ExportPool]:
    with closing(ExportPool(settings)) as pool:
        yield pool


def question(dataset: Dataset, **changes: Any) -> SourceQuestion:
    """Return the question for the scopes of a dataset, with changes of its scope's declaration."""
    spec = {**dataset.spec, "scope": {**dataset.spec["scope"], **changes}}
    return SourceQuestion(dataset.dataset, spec, recipients=False)


def test_scopes_are_read_by_one_process_that_is_replaced_when_it_dies(
    pool: ExportPool, declared: Mapping[str, Dataset], accounts: list[str]
) -> None:
    asked = question(declared["records"])
    assert set(pool.ask_source(asked)) == set(accounts)
    first = pool._reader
    assert first is not None
    assert set(pool.ask_source(asked)) == set(accounts)
    assert pool._reader is first
    os.kill(first.pid, signal.SIGKILL)
    assert first.connection.poll(60)
    assert set(pool.ask_source(asked)) == set(accounts)
    assert pool._reader is not first


def test_an_error_of_the_source_comes_back_and_the_process_goes_on(
    pool: ExportPool, declared: Mapping[str, Dataset], accounts: list[str]
) -> None:
    with pytest.raises(SourceError, match="there is no table 'nowhere'") as caught:
        pool.ask_source(question(declared["records"], table="nowhere"))
    assert type(caught.value) is SourceError
    reader = pool._reader
    assert set(pool.ask_source(question(declared["records"]))) == set(accounts)
    assert pool._reader is reader


def test_a_process_that_does_not_answer_is_ended(
    pool: ExportPool,
    declared: Mapping[str, Dataset],
    accounts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = question(declared["records"])
    pool.ask_source(asked)
    hangs = pool._reader
    assert hangs is not None
    os.kill(hangs.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(inline_pool, "SCOPES_SECONDS", 0.1)
        patch.setattr(inline_pool, "_READER_SECONDS", 0.1)
        with pytest.raises(SourceUnavailableError, match=r"No scopes could be read within 0\.1 s"):
            pool.ask_source(asked)
    assert hangs.pid not in pool._started
    assert set(pool.ask_source(asked)) == set(accounts)


def test_a_question_waits_no_longer_for_that_of_another_dataset(
    pool: ExportPool, declared: Mapping[str, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline_pool, "SCOPES_SECONDS", 0.1)
    monkeypatch.setattr(inline_pool, "_READER_SECONDS", 0.1)
    with (
        pool._reading,
        pytest.raises(SourceUnavailableError, match=r"another dataset were being read for 0\.2 s"),
    ):
        pool.ask_source(question(declared["records"]))


def test_scopes_of_a_bundle_are_read_too(
    settings: Settings, declared: Mapping[str, Dataset], warm_workers: None, tmp_path: Path
) -> None:
    """Its source is an object with the sources of its members, not a module."""
    settings = settings.model_copy(update={"source_url": f"sqlite:///{tmp_path}/archive.db"})
    engine = sa.create_engine(settings.source_url)
    archive.fill(engine)
    engine.dispose()
    scopes = Service(settings).scopes
    here = scopes.of(declared["archive"])
    with closing(ExportPool(settings)) as pool:
        asking = Service(settings).scopes
        asking.ask = pool.ask_source
        assert asking.of(declared["archive"]) == here
    assert here
