import gc
import os
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa

# A slow machine is no fault of what is tested.
hypothesis.settings.register_profile("untimed", hypothesis.settings(deadline=None))
hypothesis.settings.load_profile("untimed")

pytest_plugins = [
    "export_pipeline_tests.services.fixtures",
    "export_pipeline_tests.orchestration.fixtures",
    "export_pipeline_tests.commands",
    "export_pipeline_tests.quick_instances",
]


@sa.event.listens_for(sa.Engine, "connect")
def _no_waiting_for_the_disk(connection: Any, _: Any) -> None:
    """As with PostgreSQL: what a crash of the machine would lose are test data."""
    if type(connection).__module__ == "sqlite3":
        connection.execute("PRAGMA synchronous = OFF")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores: many tests wait for processes that they have started."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


def pytest_collection_finish() -> None:
    """What is imported stays; looking through it for garbage again and again would be a tenth of all the time."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of whole deployments first: begun last, they would run alone while the other workers have ended."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


_LONG = tuple(f"export_pipeline_tests/{name}" for name in ("system/", "test_cli.py", "orchestration/"))
