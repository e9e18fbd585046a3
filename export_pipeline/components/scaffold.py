"""`dg scaffold defs export_pipeline.TableExport NAME --table TABLE`: a dataset from the live schema."""

from __future__ import annotations

from typing import Annotated

import dagster as dg
from pydantic import BaseModel, Field


class TableParams(BaseModel):
    """What `dg scaffold` asks for."""

    table: Annotated[str, Field(description="Table or view of EXPORT_SOURCE_URL; `schema.table` if needed.")]


class TableScaffolder(dg.Scaffolder[TableParams]):
    """Writes the defs.yaml of a table export; the dataset is called as its folder."""

    @classmethod
    def get_scaffold_params(cls) -> type[TableParams]:
        return TableParams

    def scaffold(self, request: dg.ScaffoldRequest[TableParams]) -> None:
        from export_pipeline.introspection import check_yaml
        from export_pipeline.settings import load_settings
        from export_pipeline.sources.introspect import introspect
        from export_pipeline.sources.introspection.naming import dataset_name

        if request.scaffold_format != "yaml":
            raise ValueError("A table export is declared in YAML; leave --format out.")
        settings = load_settings()
        folder = request.target_path.parent if request.append else request.target_path
        found = introspect(
            settings.source_url,
            request.params.table,
            dataset=dataset_name(folder.name),
            statement_timeout=settings.statement_timeout_seconds,
        )
        check_yaml(found.yaml)
        if request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write(f"---\n{found.yaml}")
        else:
            (request.target_path / "defs.yaml").write_text(found.yaml, encoding="utf-8")
