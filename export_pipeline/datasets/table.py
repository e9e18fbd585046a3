"""Table exports: the model of their defs.yaml, and the dataset that it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator

from export_pipeline import tabular
from export_pipeline.core.messages import describe_error
from export_pipeline.core.strict_model import error_at
from export_pipeline.datasets.attributes import DatasetModel
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.options import OptionError, parse_options
from export_pipeline.formats.excel.template.references import TemplateError
from export_pipeline.formats.excel.template.splice import check_template
from export_pipeline.formats.options import FormatOptions
from export_pipeline.sources.tables import read
from export_pipeline.tabular.columns import names_in_workbook
from export_pipeline.tabular.spec import Source, TableSpec
from export_pipeline.tabular.template_spec import TemplateSpec, match_headers
from export_pipeline.tabular.validation import CheckedTableSpec

_NO_WINDOW = "say by which time of a row its window is found, e.g. `window: {column: created_at}`"


class DefsYamlError(ValueError):
    """Raised when the text of a defs.yaml is invalid. The message is one line with the field's place."""


class TableModel(DatasetModel, CheckedTableSpec):
    """The defs.yaml of a table export."""

    @model_validator(mode="after")
    def _options_are_valid(self) -> Self:
        preset = next(iter(self.presets), None) if self.preset_required else None
        given = {"preset": preset, **self.options} if preset else self.options
        try:
            parse_options(given, tabular.options(self.spec()), FormatOptions)
        except OptionError as error:
            raise error_at("TableExport", {("options",): str(error)}) from None
        return self

    @model_validator(mode="after")
    def _cadences_have_windows(self) -> Self:
        for name in self.cadences.named():
            if self.window is None:
                raise error_at("TableExport", {("cadences", name): _NO_WINDOW})
        return self

    def spec(self) -> dict[str, object]:
        """The table's own part as JSON values."""
        own = {name: getattr(self, name) for name in TableSpec.model_fields}
        return TableSpec.model_construct(**own).model_dump(mode="json", by_alias=True, exclude_defaults=True)


def table_dataset(attributes: TableModel, folder: Path) -> Dataset:
    """Return the dataset of a table export.

    Args:
        folder: Folder of its defs.yaml, where its .sql file lies.

    Raises:
        ValidationError: the .sql file cannot be read, or the template cannot be kept.
    """
    source = attributes.source
    if source.sql is not None:
        source = source.model_copy(update={"sql": _read_sql(folder / source.sql, "source", "sql")})
    views = {
        name: view.model_copy(update={"sql": _read_sql(folder / view.sql, "source", "views", name, "sql")})
        for name, view in source.views.items()
    }
    checked: dict[str, Source | TemplateSpec] = {"source": source.model_copy(update={"views": views})}
    if attributes.excel_template is not None:
        checked["excel_template"] = _check_template(attributes, folder / attributes.excel_template.path)
    attributes = attributes.model_copy(update=checked)
    return Dataset(
        attributes,
        source=read,
        shape=tabular,
        spec=attributes.spec(),
        scoped=attributes.scope is not None,
        windowed=attributes.window is not None,
        labels_scopes=attributes.scope is not None and attributes.scope.label == "name",
    )


def _check_template(attributes: TableModel, path: Path) -> TemplateSpec:
    """Return the template of a dataset, checked.

    Raises:
        ValidationError: The workbook cannot be kept whole, or its table is not made of the dataset's columns.
    """
    columns = [
        column
        for column in attributes.columns
        if not column.hidden
        and (attributes.preset_required or not column.extra)
        and (column.formats is None or "excel" in column.formats)
    ]
    names = [names_in_workbook(column) for column in columns]

    def problem(headers: tuple[str, ...]) -> str | None:
        try:
            match_headers(headers, names)
        except ValueError as error:
            return str(error)
        return None

    try:
        checked = check_template(path, problem)
    except TemplateError as error:
        raise error_at("TableExport", {("excel_template",): f"{path.name} {error}"}) from None
    return TemplateSpec(
        path=str(path.resolve()), sha256=checked.sha256, table=checked.table, headers=checked.headers
    )


def _read_sql(file: Path, *place: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file.name} cannot be read: {error}; it lies beside the YAML"
        raise error_at("TableExport", {place: message}) from None


def check_yaml(text: str) -> None:
    """Check the text of a defs.yaml as Dagster would, so that nothing is written that does not load.

    Raises:
        DefsYamlError: a field is wrong.
    """
    import yaml

    try:
        TableModel.model_validate(yaml.safe_load(text)["attributes"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DefsYamlError(f"{place}: {describe_error(first)}") from None
