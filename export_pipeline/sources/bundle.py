"""Reads the datasets of a bundle from one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.tabular.bundle import join


def scopes(snapshot: Snapshot, spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the scopes that all members have: names by id."""
    members = [
        import_module(member["source"]).scopes(snapshot, member["spec"])
        for member in spec["members"].values()
    ]
    return {id: name for id, name in members[0].items() if all(id in other for other in members[1:])}


def read(snapshot: Snapshot, request: Request) -> ExportData:
    """Read every member, each restricted to the scope as in a separate export.

    Raises:
        SourceError: As raised by the members' own sources.
    """
    members = {}
    for name, member in request.spec["members"].items():
        model = import_module(member["model"]).options(member["spec"])
        options = getattr(request.options, name) or model()
        members[name] = import_module(member["source"]).read(
            snapshot,
            Request(name, member["model"], member["spec"], request.scope, options, request.window),
        )
        members[name].options = {**member["options"], **members[name].options}
    bundle = ExportData(
        dataset=request.dataset,
        model=request.model,
        scope=request.scope,
        title=request.spec["title"],
        subject={},
        options=request.options.model_dump(mode="json", by_alias=True),
        tables={},
        snapshot_at=snapshot.opened_at,
        window=request.window,
        source_rows=0,
        source_totals={},
        changed=Counter(),
        spec=request.spec,
    )
    return join(bundle, members)
