"""The manifest beside each export file: a Frictionless Data Resource, and where the file comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from export_pipeline.core.amounts import with_unit
from export_pipeline.core.schema import Schema, Text, well_formed
from export_pipeline.store.base import StoreError
from export_pipeline.store.keys import scope_segment, window_key

_Bytes = bytes  # in the class below, `bytes` is a field


class ManifestError(StoreError):
    """A manifest that is none. The message says where it is wrong."""


def plain(value: Any) -> Any:
    """`value` as JSON can say it: times as ISO 8601, NaN and infinity as null, what JSON has not as text."""
    if isinstance(value, Mapping):
        return {well_formed(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | datetime):
        return value.isoformat()
    if value is None or isinstance(value, bool | int):
        return value
    return well_formed(str(value))


Plain = Annotated[dict[str, Any], BeforeValidator(plain)]
Counts = Annotated[dict[str, dict[str, int]], BeforeValidator(plain)]
Personal = Annotated[
    dict[str, tuple[Text, ...]],
    BeforeValidator(lambda value: value if isinstance(value, Mapping) else {"rows": value} if value else {}),
]
"""Manifests of earlier versions have a list, which is of the one table "rows"."""


class ColumnTotal(BaseModel):
    """The sum of a column over the rows of the file.

    Attributes:
        value: A decimal at the column's scale, e.g. "219.30".
        unit: E.g. "$"; None without one.
        read_as: The name under which a reader of the format finds the column, if another one.
        minor_digits: The file's own numbers count 10 to minus this of the unit: 2 where it has cents.
    """

    model_config = ConfigDict(frozen=True)

    value: Decimal = Field(allow_inf_nan=True)
    unit: str | None = None
    read_as: Text | None = None
    minor_digits: int = 0

    @property
    def text(self) -> str:
        """The sum with its unit."""
        return with_unit(f"{self.value:f}", self.unit)


def _totals(value: Any) -> Any:
    """Totals of an earlier version's manifest are numbers, or null."""
    return {
        name: total if isinstance(total, Mapping | ColumnTotal) else {"value": total}
        for name, total in value.items()
        if total is not None
    }


Totals = Annotated[dict[str, ColumnTotal], BeforeValidator(_totals)]


class Manifest(BaseModel):
    """What one export file holds and where it comes from.

    Attributes:
        name: A short name in lower case without spaces, e.g. "takeoff-csv"; for data catalogues.
        path: The file's name, relative to the manifest.
        bytes: The file's size.
        hash: "sha256:" and the hex digest of the file.
        format: csv, json, excel, pdf, ost, …
        mediatype: E.g. "text/csv".
        encoding: Of text files.
        rows: Rows of the export in the file.
        total_rows: Rows of the export in the source; more where the format cannot hold some.
        schema_: Its columns ("schema" in JSON).
        title: As people save the file.
        dataset, scope, cadence, window: Which export it is; None where it has none.
        period: The window in words, e.g. "2026-10-05 to 2026-10-11".
        options, filters: As requested.
        personal: Headers of the columns that hold personal data, by table of the file.
        expires_at: When it may be deleted; None where nothing says so.
        snapshot_at: When the data were read.
        run_id, code_version: By whom.
        deployment: Id of the deployment that made it; None if its ledger could not be asked.
        warnings: Sentences for readers of the file.
        changed: Cells that differ from the source: reason, column header, count.
        totals: Sum by column over the rows of the export.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    name: str = Field(pattern=r"^[a-z0-9._-]+$")
    path: str = Field(min_length=1)
    bytes: int = Field(ge=0)
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    format: str
    mediatype: str
    encoding: str | None = None
    rows: int = Field(ge=0)
    total_rows: int | None = Field(default=None, ge=0)
    schema_: Schema = Field(default=Schema(), alias="schema")
    title: Text | None = None
    dataset: Text
    scope: Text | None = None
    cadence: str | None = None
    window: Text | None = None
    period: Text | None = None
    options: Plain = {}
    filters: Plain = {}
    personal: Personal = {}
    expires_at: AwareDatetime | None = None
    snapshot_at: AwareDatetime
    run_id: str | None = None
    code_version: str | None = None
    deployment: str | None = None
    warnings: tuple[Text, ...] = ()
    changed: Counts = {}
    totals: Totals = {}

    @property
    def sha256(self) -> str:
        """The hex digest alone."""
        return self.hash.removeprefix("sha256:")

    def is_of(self, key: str, size: int | None = None) -> bool:
        """Return whether this manifest is that of the file `key`, and not a copy of another file's.

        Args:
            size: Of the file, in bytes; None where that is not known.
        """
        folder, _, name = key.rpartition("/")
        try:
            if self.window is None or self.cadence in (None, "on_demand"):
                there = f"exports/{scope_segment(self.scope)}"
            else:
                of_window = window_key(self.scope, self.dataset, self.cadence, self.window, "x")
                there = of_window.rpartition("/")[0]
        except ValueError:  # an empty name
            return False
        return (folder, name) == (there, self.path) and size in (None, self.bytes)

    def to_json(self) -> _Bytes:
        """UTF-8 JSON, indented; the same manifest always gives the same bytes."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: _Bytes) -> Manifest:
        """Read a manifest; fields that we do not know are left out.

        Raises:
            ManifestError: It is cut off, not JSON, or a field is missing or wrong.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise ManifestError(f"The manifest is damaged: {where}: {first['msg']}.") from error


def changed_cells(changed: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Counts by (reason, column header), as renderers give them, in the manifest's shape."""
    nested: dict[str, dict[str, int]] = {}
    for (reason, column), count in sorted(changed.items()):
        nested.setdefault(reason, {})[column] = count
    return nested
