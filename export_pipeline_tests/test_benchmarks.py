"""The benchmarks import modules that exist: they name them as texts, which no type checker reads."""

import importlib.util
import sys
from types import ModuleType

import pytest

from export_pipeline_tests.paths import ROOT


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("format", ["csv", "json", "parquet", "excel", "pdf"])
def test_modules_that_are_imported_before_a_measurement_exist(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = benchmark("tables").modules("this", format)
    names += benchmark("takeoff").modules(format, "postgresql://x")
    assert [name for name in names if importlib.util.find_spec(name) is None] == []
