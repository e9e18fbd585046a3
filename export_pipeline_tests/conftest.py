import functools
import gc
import os
import signal
from collections.abc import Generator, Iterator
from typing import Any
from unittest import mock

import hypothesis
import pytest
import sqlalchemy as sa
from httpx._config import create_ssl_context
from httpx._transports import default as httpx_transport

from export_pipeline import redaction

# What is begun in the background hears no Ctrl-C. Dagster makes of SIGTERM what Ctrl-C is, and a server that a test
# starts would hear neither: it would have to be killed in the end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no fault of what is tested.
hypothesis.settings.register_profile("untimed", hypothesis.settings(deadline=None))
hypothesis.settings.load_profile("untimed")

pytest_plugins = [
    "export_pipeline_tests.services.fixtures",
    "export_pipeline_tests.orchestration.fixtures",
    "export_pipeline_tests.orchestration.runs.shop",
    "export_pipeline_tests.commands",
    "export_pipeline_tests.quick_instances",
]


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Not in the folder and with the settings of whoever runs the tests: both may hold data of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        for name in os.environ:
            if name.startswith(("EXPORT_", "DAGSTER_")) and not name.startswith("EXPORT_TEST_"):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _no_environment_of_other_tests() -> Iterator[None]:
    """Commands that a test runs in this process set DAGSTER_HOME, and each process of a later test gets it."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(autouse=True)
def _no_passwords_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's password, an everyday word, would be hidden in the messages that later tests read."""
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """Each client of httpx would read all certificates of the authorities anew: 20 ms, also where it asks without TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx_transport, "create_ssl_context", functools.cache(create_ssl_context))
        yield


@sa.event.listens_for(sa.Engine, "connect")
def _no_waiting_for_others(connection: Any, _: Any) -> None:
    """As with PostgreSQL, where a writer waits for no reader; what a crash of the machine would lose are test data.

    Threads share the databases of an instance in memory: a write while another thread reads would fail at once.
    """
    if type(connection).__module__ == "sqlite3":
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA read_uncommitted = ON")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores: many tests wait for processes that they have started."""
    return (os.cpu_count() or 1) * 2


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among modules that are being imported: it would take a seventh of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Leave imported modules out of garbage collection, and collect seldom: it would take a fifth of all the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: begun last, one would run alone while the other workers have ended."""
    items.sort(key=lambda item: next((n for n, name in enumerate(_LONG) if name in item.nodeid), len(_LONG)))


# The longest first, what mostly waits for processes and what only computes in turn, so that both cores are always busy.
_LONG = (
    "system/test_front_door.py", "sources/tables/test_attack.py", "system/test_on_servers.py", "hostile/test_excel.py",
    "orchestration/runs/test_warm_launcher.py", "hostile/test_pdf.py", "system/", "test_documented_commands.py",
    "orchestration/runs/test_launchers.py", "cli/test_demo.py", "orchestration/runs/test_celery_launcher.py",
    "cli/test_interrupts.py", "orchestration/runs/test_killed.py", "api/test_openapi.py",
    "orchestration/runs/test_outages.py", "api/test_inline", "delivery/test_once.py", "orchestration/test_tools.py",
    "hostile/test_public_databases.py", "api/test_replace.py", "cli/test_cli.py", "delivery/", "orchestration/", "sources/",
    "hostile/", "api/",
)  # fmt: skip
