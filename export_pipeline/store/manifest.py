"""The manifest beside each export file: a Frictionless Data Resource with the file's provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from export_pipeline.core.amounts import with_unit
from export_pipeline.core.schema import Schema, Text, replace_surrogates
from export_pipeline.store.base import StoreError
from export_pipeline.store.keys import manifest_key, scope_segment, window_key
from export_pipeline.store.store import Store

_LARGEST_BYTES = 64 << 20
_Bytes = bytes  # in the class below, `bytes` is a field


class ManifestError(StoreError):
    """Raised when a manifest is invalid. The message names the place of the error."""


def plain(value: Any) -> Any:
    """Convert a value for JSON: times become ISO 8601, NaN and infinity null, other types strings."""
    if isinstance(value, Mapping):
        return {replace_surrogates(str(key)): plain(item) for key, item in value.items()}
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
    return replace_surrogates(str(value))


Plain = Annotated[dict[str, Any], BeforeValidator(plain)]
Counts = Annotated[dict[str, dict[str, int]], BeforeValidator(plain)]
Personal = Annotated[
    dict[str, tuple[Text, ...]],
    BeforeValidator(lambda value: value if isinstance(value, Mapping) else {"rows": value} if value else {}),
]
"""Personal columns by table. Earlier versions wrote a list, for the only table "rows"."""


class ColumnTotal(BaseModel):
    """The sum of a column over the rows of the file.

    Attributes:
        value: The sum as a decimal string at the column's scale, e.g. "219.30".
        unit: Unit of the sum, e.g. "$"; None if it has none.
        read_as: Name of the column for a reader of the format, if it differs.
        minor_digits: Decimal places by which the file's numbers are scaled: 2 where the file has cents.
    """

    model_config = ConfigDict(frozen=True)

    value: Decimal = Field(allow_inf_nan=True)
    unit: str | None = None
    read_as: Text | None = None
    minor_digits: int = 0

    @property
    def text(self) -> str:
        """Return the sum with its unit."""
        return with_unit(f"{self.value:f}", self.unit)


def _totals(value: Any) -> Any:
    """Convert the totals of an earlier version's manifest, which are numbers or null."""
    return {
        name: total if isinstance(total, Mapping | ColumnTotal) else {"value": total}
        for name, total in value.items()
        if total is not None
    }


Totals = Annotated[dict[str, ColumnTotal], BeforeValidator(_totals)]


class Part(BaseModel):
    """A file of an export in parts.

    Attributes:
        path: Its place, relative to the manifest.
        bytes: Its size.
        hash: "sha256:" and the hex digest of the file.
        rows: Number of exported rows in it.
    """

    model_config = ConfigDict(frozen=True)

    path: str = Field(min_length=1)
    bytes: int = Field(ge=0)
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    rows: int = Field(ge=0)

    @property
    def sha256(self) -> str:
        """The hex digest without its prefix."""
        return self.hash.removeprefix("sha256:")


class Manifest(BaseModel):
    """Describes the content and the provenance of one export file.

    Attributes:
        name: A short name in lower case without spaces, e.g. "takeoff-csv"; for data catalogues.
        path: The file's name, relative to the manifest.
        bytes: The file's size; of an export in parts, the sum of theirs.
        hash: "sha256:" and the hex digest of the file; of an export in parts, that of their list: a line
            with hash and path for each, as `sha256sum` prints it.
        format: The file's format: csv, json, excel, pdf, ost, …
        mediatype: The Content-Type, e.g. "text/csv".
        encoding: Encoding of a text file.
        rows: Number of exported rows in the file.
        total_rows: Number of exported rows in the source; larger if the format cannot hold all of them.
        schema_: The file's columns ("schema" in JSON).
        title: The name under which people save the file.
        dataset, scope, cadence, window: Identify the export; None where one does not apply.
        scope_name: Name of the scope; None if the dataset shows ids alone.
        period: The window as people read it, e.g. "2026-10-05 to 2026-10-11".
        options, filters: As requested.
        personal: Headers of the columns that hold personal data, by table of the file.
        left_out: Headers of the columns that the file leaves out because people rarely read them.
        expires_at: The time from which the file may be deleted; None if it never expires.
        snapshot_at: The time at which the data were read.
        run_id, code_version: The run and the version of the code that made the file.
        deployment: Id of the deployment that made the file; None if its ledger could not be read.
        warnings: Sentences for readers of the file.
        changed: Number of cells that differ from the source, by reason and column header.
        totals: The sum of each column over the rows of the export.
        parts: The files of an export in parts, in the order of their rows; empty if it is one file.
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
    scope_name: Text | None = None
    cadence: str | None = None
    window: Text | None = None
    period: Text | None = None
    options: Plain = {}
    filters: Plain = {}
    personal: Personal = {}
    left_out: tuple[Text, ...] = ()
    expires_at: AwareDatetime | None = None
    snapshot_at: AwareDatetime
    run_id: str | None = None
    code_version: str | None = None
    deployment: str | None = None
    warnings: tuple[Text, ...] = ()
    changed: Counts = {}
    totals: Totals = {}
    parts: tuple[Part, ...] = Field(default=(), exclude_if=lambda parts: not parts)

    @property
    def sha256(self) -> str:
        """The hex digest without its prefix."""
        return self.hash.removeprefix("sha256:")

    def part_keys(self, key: str) -> list[str]:
        """Return the keys of the parts of the export `key`, in the order of their rows."""
        folder = key.rpartition("/")[0]
        return [f"{folder}/{part.path}" for part in self.parts]

    def is_of(self, key: str, size: int | None = None) -> bool:
        """Return whether this manifest belongs to the file `key`, and is not a copy of another file's.

        Args:
            size: Size of the file in bytes; None if unknown.
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
        """Return indented UTF-8 JSON; the same manifest always gives the same bytes."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: _Bytes) -> Manifest:
        """Parse a manifest; unknown fields are ignored.

        Raises:
            ManifestError: The manifest is truncated or not JSON, or a field is missing or invalid.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise ManifestError(f"The manifest is damaged: {where}: {first['msg']}.") from error


def changed_cells(changed: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Convert a renderer's counts by (reason, column header) to the shape of the manifest."""
    nested: dict[str, dict[str, int]] = {}
    for (reason, column), count in sorted(changed.items()):
        nested.setdefault(reason, {})[column] = count
    return nested


def read_manifest(store: Store, key: str) -> Manifest:
    """Return the manifest of the file `key`.

    Raises:
        NotFoundError: The file has no manifest: the export is not complete.
        ManifestError: The manifest is damaged.
    """
    with store.open(manifest_key(key)) as source:
        return Manifest.from_json(source.read(_LARGEST_BYTES))
