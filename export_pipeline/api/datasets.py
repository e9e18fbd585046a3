"""Routes of datasets: their columns, the JSON Schema of their requests, and their scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from export_pipeline.api.authentication import Caller, Reader, Services
from export_pipeline.api.problems import not_found, responses
from export_pipeline.api.requests import translate_source_errors
from export_pipeline.api.service import Service
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.request_body import ExportRequest
from export_pipeline.datasets.requests import format_names
from export_pipeline.formats.options import of_other_formats

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses=responses(401, 403, 429, 503))

DatasetName = Annotated[str, Path(max_length=200, examples=["records"])]
_OWN_FIELDS = ("columns", "preset", "filters", "sort")
"""Options of a dataset that are fields of the request themselves."""

_STRING, _NUMBER = {"type": "string"}, {"type": ["number", "string"]}
_VALUES: Mapping[str, dict[str, Any]] = {
    "integer": {"type": ["integer", "string"]},
    "money": {"type": ["integer", "string"]},
    "decimal": _NUMBER,
    "percent": _NUMBER,
    "float": _NUMBER,
    "boolean": {"type": "boolean"},
    "uuid": {"type": "string", "format": "uuid"},
}
"""JSON Schema of filter values, by type of the column. Numbers may be strings, so that none is rounded."""


class DatasetSummary(BaseModel):
    """A dataset in the list."""

    name: str
    description: str
    formats: list[str]
    scoped: Annotated[bool, Field(description="True if a request names a scope.")]
    schedulable: Annotated[bool, Field(description="True if schedules can export its windows.")]


class DatasetColumn(BaseModel):
    """A column of a table."""

    name: str
    type: str
    header: str | None = None
    extra: Annotated[bool, Field(description="Only exported if a request names it.")] = False
    guarded: Annotated[bool, Field(description="Empty for those who may not read it.")] = False
    personal: bool = False


class DatasetDetails(DatasetSummary):
    """A dataset. Datasets that are no single table have no columns here."""

    columns: list[DatasetColumn]
    presets: list[str]
    filters: dict[str, list[str]] = Field(description="Operators by filter.")
    sort: list[str]


class DatasetList(BaseModel):
    """The datasets that the caller may see."""

    data: list[DatasetSummary]


class Scope(BaseModel):
    """A scope: a project, account, client or tenant."""

    id: str
    name: str


class ScopeList(BaseModel):
    """Scopes of a dataset, by name."""

    data: list[Scope]


@router.get("")
async def list_datasets(service: Services, caller: Reader) -> DatasetList:
    """List what the caller may export."""
    datasets = await service.run(lambda: caller.visible(service.datasets))
    return DatasetList(data=[DatasetSummary(**_summary(dataset)) for dataset in datasets.values()])


@router.get("/{name}", responses=responses(404))
async def get_dataset(name: DatasetName, service: Services, caller: Reader) -> DatasetDetails:
    """Return a dataset with its columns, presets and filters."""
    dataset = await find_dataset(service, caller, name)
    spec = dataset.spec
    columns = [column for column in spec.get("columns", ()) if not column.get("hidden")]
    described = {column.name: column for column in dataset.describe().columns}
    return DatasetDetails(
        **_summary(dataset),
        columns=[
            DatasetColumn(
                **{"type": "text", **{key: column[key] for key in _SHOWN if key in column}},
                guarded=described[column["name"]].is_guarded,
                personal=described[column["name"]].is_personal,
            )
            for column in columns
        ],
        presets=list(spec.get("presets", ())),
        filters={name: list(filter["operators"]) for name, filter in spec.get("filters", {}).items()},
        sort=list(spec.get("sort", ())),
    )


@router.get("/{name}/schema", responses=responses(404))
async def get_dataset_schema(name: DatasetName, service: Services, caller: Reader) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of this dataset's `POST /v1/exports`."""
    dataset = await find_dataset(service, caller, name)
    return await service.run(request_schema, dataset)


@router.get("/{name}/scopes", responses=responses(404))
async def list_dataset_scopes(
    name: DatasetName,
    service: Services,
    caller: Reader,
    q: Annotated[str, Query(max_length=200, description="Part of the id or name.")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> ScopeList:
    """List the scopes of the dataset that the caller may see."""
    dataset = await find_dataset(service, caller, name)
    if not dataset.scoped:
        raise not_found(f"list of scopes: {name} has none")

    def find() -> list[Scope]:
        with translate_source_errors():
            there = service.scopes.of(dataset)
        matches = [
            Scope(id=id, name=text)
            for id, text in there.items()
            if (caller.scopes is None or id in caller.scopes)
            and (q.casefold() in id.casefold() or q.casefold() in text.casefold())
        ]
        return sorted(matches, key=lambda scope: (scope.name, scope.id))[:limit]

    return ScopeList(data=await service.run(find))


async def find_dataset(service: Service, caller: Caller, name: str) -> Dataset:
    """Return a dataset.

    Raises:
        Problem: there is none that the caller may see.
    """
    dataset = (await service.run(lambda: caller.visible(service.datasets))).get(name)
    if dataset is None:
        raise not_found(f"dataset {name!r}")
    return dataset


def request_schema(dataset: Dataset) -> dict[str, Any]:
    """Return the JSON Schema of a request for a dataset."""
    schema = ExportRequest.model_json_schema(ref_template="#/$defs/{model}")
    fields = {**schema["properties"], "dataset": {"const": dataset.dataset}}
    fields["format"] = {"enum": format_names(dataset)}
    fields["formats"] = {**fields["formats"]["anyOf"][0], "items": fields["format"]}
    if not dataset.scoped:
        del fields["scope"]
    options: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for model in dataset.option_models():
        described = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= described.get("$defs", {})
        for name, field in described["properties"].items():
            if name in _OWN_FIELDS:
                fields[name] = field
            elif name != "requested_by" and name not in of_other_formats(dataset.formats):
                options[name] = field
    own = dataset.option_models()[0].model_fields
    for name in _OWN_FIELDS:
        if name not in own:
            fields.pop(name)
    _describe_table(dataset.spec, fields, definitions)
    fields["options"] = {"type": "object", "additionalProperties": False, "properties": options}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": dataset.dataset,
        "description": dataset.attributes.description,
        "type": "object",
        "additionalProperties": False,
        "required": ["dataset", *(["scope"] if dataset.scoped else [])],
        "oneOf": [{"required": ["format"]}, {"required": ["formats"]}],
        "properties": fields,
        "$defs": definitions,
    }


def _describe_table(spec: Mapping[str, Any], fields: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Add the names of columns and the types of filter values, which the models check in code."""
    columns = {column["name"]: column for column in spec.get("columns", ())}
    if not columns:
        return
    visible = [name for name, column in columns.items() if not column.get("hidden")]
    fields["columns"]["anyOf"][0]["items"] = {"enum": visible}
    sort = [sign + name for name in spec.get("sort", ()) for sign in ("", "-")]
    fields["sort"]["anyOf"][0]["items"] = {"enum": sort} if sort else False
    for name, filter in spec.get("filters", {}).items():
        column = columns.get(name, {})
        kind = str(filter.get("type") or column.get("type", "text")).partition("(")[0]
        value = _VALUES.get(kind, _STRING)
        if kind == "enum" and column.get("labels"):
            value = {"enum": list(column["labels"])}
        operators = definitions.get(f"{name}_filter", {}).get("properties", {})
        if "equals" in operators:
            operators["equals"] |= value
        if "in" in operators:
            operators["in"] |= {"type": "array", "items": value, "minItems": 1}
        for end in definitions.get(f"{name}_range", {}).get("properties", {}).values():
            end |= value


def _summary(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.dataset,
        "description": dataset.attributes.description,
        "formats": list(dataset.formats),
        "scoped": dataset.scoped,
        "schedulable": dataset.windowed,
    }


_SHOWN = ("name", "type", "header", "extra")
