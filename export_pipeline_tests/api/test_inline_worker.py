"""Workers of small exports, one of which cannot be ended: the others go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from export_pipeline.api import inline_worker
from export_pipeline.api.inline_worker import ForkServer, Worker
from export_pipeline.datasets.loading import load_datasets
from export_pipeline.settings import Settings


@pytest.fixture
def parent(settings: Settings) -> Iterator[ForkServer]:
    """A fork server that is forked when a test says so."""
    with closing(ForkServer(settings)) as parent:
        yield parent


def state(pid: int) -> str:
    """Return the state of a process as Linux names it; nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


def works(worker: Worker) -> bool:
    return state(worker.pid) in ("R", "S") and not worker.connection.poll()


def test_an_ended_worker_has_ended(parent: ForkServer, tmp_path: Path) -> None:
    parent.fork(load_datasets())
    one, other = (parent.start(str(tmp_path / "files")) for _ in range(2))
    parent.end(one)
    assert state(one.pid) == ""
    assert works(other)


def test_a_maker_that_hangs_in_the_kernel_holds_up_nobody(
    parent: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a network drive that is away: it does not end, however often it is killed. Then it does."""
    real, back = os.waitpid, tmp_path / "the drive is back"

    def waitpid(pid: int, options: int) -> tuple[int, int]:
        while not back.exists():
            if options & os.WNOHANG:
                return 0, 0
            time.sleep(0.1)
        return real(pid, options)

    with monkeypatch.context() as patch:  # the parent has it from its fork
        patch.setattr(os, "waitpid", waitpid)
        parent.fork(load_datasets())
    process = parent._process
    for _ in range(2):
        hangs = parent.start(str(tmp_path / "files"))
        parent.end(hangs)
        assert state(hangs.pid) == "Z"
        assert works(parent.start(str(tmp_path / "files")))
    assert parent._process is process
    back.touch()
    until = time.monotonic() + 30
    while state(hangs.pid):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_fork_server_that_does_not_answer_is_replaced(
    parent: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.fork(load_datasets())
    worker, kept = (parent.start(str(tmp_path / "files")) for _ in range(2))
    monkeypatch.setattr(inline_worker, "_ANSWER_SECONDS", 0.5)
    first = parent._process
    os.kill(first.pid, signal.SIGSTOP)
    parent.end(worker)
    assert first.exitcode == -signal.SIGKILL
    assert works(parent.start(str(tmp_path / "files")))
    assert works(kept)
    os.kill(parent._process.pid, signal.SIGSTOP)
    with pytest.raises(OSError, match=r"did not answer for 0\.5 s"):
        parent.start(str(tmp_path / "files"))
    assert works(parent.start(str(tmp_path / "files")))
