"""The hostile project, exported once on each database, and its files, rendered once for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Layout, Proof
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.formats.registry import FORMATS
from export_pipeline.takeoff import layout
from export_pipeline_tests.hostile.database import PROJECT, Truth, fill, truth
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.takeoff_data import Application

OPTIONS = {"include_drawings": True, "include_details": True, "include_empty_conditions": True}

one_database = pytest.mark.parametrize("hostile", ["sqlite"], indirect=True)
"""For what a program says of a whole file: the other database's has no other kinds of texts in it."""


@dataclass
class Hostile:
    """One database's hostile project: what it holds, its export, its files."""

    app: Application
    data: ExportData
    truth: Truth
    folder: Path

    @cached_property
    def layout(self) -> Layout:
        return layout(self.data)

    def file(self, name: str) -> tuple[Path, Rendered]:
        """The file of a format, and what its renderer says of it."""
        if name not in self._files:
            path = self.folder / f"hostile{FORMATS[name].extension}"
            with path.open("wb") as out:
                self._files[name] = path, FORMATS[name].render(self.layout, out, FORMATS[name].options())
        return self._files[name]

    def read_back(self, name: str) -> FileFacts:
        facts: FileFacts = FORMATS[name].read_back(self.file(name)[0], FORMATS[name].options())
        return facts

    def proof(self, name: str) -> Proof:
        return FORMATS[name].proof(self.layout, FORMATS[name].options())

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Rendered]]:
        return {}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """The hostile project on each database that is promised."""
    folder = tmp_path_factory.mktemp("hostile")
    if request.param == "sqlite":
        yield from _made(f"sqlite:///{folder}/app.db", folder)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield from _made(url, folder)


def _made(url: str, folder: Path) -> Iterator[Hostile]:
    app = Application(url)
    fill(app.engine)
    yield Hostile(app, app.export(PROJECT, **OPTIONS), truth(url), folder)
    app.close()
