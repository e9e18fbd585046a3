"""Requests as applications make them: over all datasets, scopes and formats."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from export_pipeline_tests.system.checks import IDS
from export_pipeline_tests.system.deployment import System

SMALL = "records"
"""A dataset whose exports take next to no time."""


def right(system: System, first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield valid requests. Each combination of dataset, format and scope comes once before any is repeated.

    CSV of datasets whose rows name their scope comes first, so that a few requests are enough to find rows of
    another scope.

    Args:
        first: Number of rounds through all datasets to leave out.
    """
    ordered = sorted(system.datasets.items(), key=lambda item: item[0] not in IDS)
    for turn in itertools.count(first):
        for name, dataset in ordered:
            formats = sorted(dataset.formats, key=lambda format: format != "csv")
            scopes = system.scopes[name]
            options: dict[str, Any] = {}
            if dataset.spec.get("preset_required"):
                options = {"preset": next(iter(dataset.spec["presets"]))}
            yield {
                "dataset": name,
                "format": formats[turn % len(formats)],
                "scope": scopes[(turn % len(formats) + turn // len(formats)) % len(scopes)],
                "options": json.dumps(options),
            }


def wrong(system: System) -> Iterator[tuple[dict[str, Any], str]]:
    """Requests that cannot be met, and the code of the error they get."""
    scope = system.scopes[SMALL][0]
    asked = {"dataset": SMALL, "format": "csv", "scope": scope}
    return itertools.cycle(
        [
            (asked | {"format": "doc"}, "unknown_format"),
            (asked | {"scope": "nobody"}, "unknown_scope"),
            (asked | {"dataset": "nothing"}, "unknown_dataset"),
            (asked | {"columns": '["profits_cents"]'}, "invalid_options"),
            ({"dataset": SMALL, "format": "csv"}, "no_scope"),
        ]
    )
