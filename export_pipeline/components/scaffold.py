"""`dg scaffold defs export_pipeline.TableExport NAME --table TABLE`: a dataset from the live schema."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import dagster as dg
from pydantic import BaseModel, Field


class TableParams(BaseModel):
    """Parameters that `dg scaffold` asks for."""

    table: Annotated[str, Field(description="Table or view of EXPORT_SOURCE_URL; `schema.table` if needed.")]


class TableScaffolder(dg.Scaffolder[TableParams]):
    """Writes the defs.yaml of a table export; the dataset is called as its folder."""

    @classmethod
    def get_scaffold_params(cls) -> type[TableParams]:
        return TableParams

    def scaffold(self, request: dg.ScaffoldRequest[TableParams]) -> None:
        # Every process that runs an export imports this module, and scaffolds nothing.
        import click

        from export_pipeline.datasets.table import DefsYamlError
        from export_pipeline.settings import SettingsError
        from export_pipeline.sources.snapshot import SourceError

        folder = request.target_path.parent if request.append else request.target_path
        try:
            if request.scaffold_format != "yaml":
                raise DefsYamlError("A table export is declared in YAML; leave --format out.")
            text = _yaml(request.params.table, folder)
        except (DefsYamlError, SourceError, SettingsError) as error:
            with suppress(OSError):  # dg has made it; it stays if something is in it
                folder.rmdir()
            raise click.ClickException(str(error)) from None
        if request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write(f"---\n{text}")
        else:
            (folder / "defs.yaml").write_text(text, encoding="utf-8")


def _yaml(table: str, folder: Path) -> str:
    from export_pipeline.datasets.table import check_yaml
    from export_pipeline.settings import load_settings
    from export_pipeline.sources.introspection.introspect import introspect
    from export_pipeline.sources.introspection.naming import dataset_name

    settings = load_settings()
    introspected = introspect(
        settings.source_url,
        table,
        dataset=dataset_name(folder.name),
        statement_timeout=settings.statement_timeout_seconds,
    )
    check_yaml(introspected.yaml)
    return introspected.yaml
