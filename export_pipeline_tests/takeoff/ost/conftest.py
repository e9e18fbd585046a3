from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An XML file that is not there yet."""
    return tmp_path / "project.xml"
