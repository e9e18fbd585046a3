"""Lineage: the application's tables as external assets, and the columns that each export is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import dagster as dg

from export_pipeline.core.description import ColumnDescription, Origin
from export_pipeline.datasets.dataset import Dataset


def application_key(dataset: str) -> dg.AssetKey:
    """Return the key of the external asset for what a dataset reads, the upstream of all its exports."""
    return dg.AssetKey([dataset, "application"])


def table_key(table: str) -> dg.AssetKey:
    """Return the key of the external asset for a table of the application."""
    return dg.AssetKey(["database", re.sub(r"[^\w.$-]", "_", table.replace('"', ""))])


def application_asset(dataset: Dataset) -> dg.AssetSpec:
    """Return the external asset of what a dataset reads: all its tables together."""
    return dg.AssetSpec(
        application_key(dataset.dataset),
        deps=[table_key(table) for table in dataset.describe().tables],
        description=f"The application's own tables that {dataset.dataset} is exported from; only read.",
        group_name=dataset.dataset,
        owners=list(dataset.attributes.owners),
        kinds={"table"},
    )


def table_assets(datasets: Iterable[Dataset]) -> list[dg.AssetSpec]:
    """Return an external asset for each table that a dataset reads, with the columns that are read."""
    readers: dict[dg.AssetKey, list[str]] = {}
    names: dict[dg.AssetKey, str] = {}
    columns: dict[dg.AssetKey, dict[str, None]] = {}
    for dataset in datasets:
        described = dataset.describe()
        for table in described.tables:
            names.setdefault(table_key(table), table)
            readers.setdefault(table_key(table), []).append(dataset.dataset)
        for column in described.columns:
            for origin in column.origins:
                columns.setdefault(table_key(origin.table), {})[origin.column] = None
    return [
        dg.AssetSpec(
            key,
            description=f"The table {names[key]} of the application; {', '.join(of_datasets)} read it.",
            group_name="database",
            kinds={"table"},
            metadata={
                "dagster/column_schema": dg.TableSchema(
                    [dg.TableColumn(name) for name in columns.get(key, ())]
                )
            },
        )
        for key, of_datasets in sorted(readers.items())
    ]


def table_schema(columns: Iterable[ColumnDescription]) -> dg.TableSchema:
    """Return columns as Dagster shows them."""
    return dg.TableSchema(
        [dg.TableColumn(column.header, column.kind, description=column.description) for column in columns]
    )


def column_lineage(origins: Mapping[str, Iterable[Origin]]) -> dg.TableColumnLineage:
    """Return columns of the application by the header of the column that is read or computed from them."""
    return dg.TableColumnLineage(
        {
            header: [dg.TableColumnDep(table_key(origin.table), origin.column) for origin in of_column]
            for header, of_column in origins.items()
        }
    )
