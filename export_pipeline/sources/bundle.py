"""Reads the datasets of a bundle from one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.sources.snapshot import Snapshot, Source
from export_pipeline.tabular.bundle import Bundle, join


@dataclass(frozen=True, slots=True)
class BundleSource:
    """Reads the members of a bundle by their own sources.

    Attributes:
        shape: The bundle's shape.
        members: Sources of the members, by name.
    """

    shape: Bundle
    members: Mapping[str, Source]

    def scopes(self, snapshot: Snapshot, spec: Mapping[str, Any], /) -> dict[str, str]:
        """Return the scopes that all members have: names by id."""
        first, *others = (
            member.scopes(snapshot, spec["members"][name]["spec"]) for name, member in self.members.items()
        )
        return {id: name for id, name in first.items() if all(id in other for other in others)}

    def read(self, snapshot: Snapshot, request: Request, /) -> ExportData:
        """Read every member, each restricted to the scope as in a separate export.

        Raises:
            SourceError: As raised by the members' own sources.
        """
        members = {}
        for name, source in self.members.items():
            declared, shape = request.spec["members"][name], self.shape.members[name]
            options = getattr(request.options, name) or shape.options(declared["spec"])()
            if "requested_by" in type(options).model_fields:
                asks = getattr(request.options, "requested_by", None)
                options = options.model_copy(update={"requested_by": asks})
            members[name] = source.read(
                snapshot, Request(name, shape, declared["spec"], request.scope, options, request.window)
            )
            members[name].options = {**declared["options"], **members[name].options}
        bundle = ExportData(
            dataset=request.dataset,
            shape=self.shape,
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
