"""Metadata of materializations: what Dagster's UI shows of an export file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import dagster as dg

from export_pipeline.datasets.export_file import FileSummary
from export_pipeline.datasets.file_checks import number_to_plot
from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.database import opened_engine
from export_pipeline.jobs.file_notes import file_notes, size_text
from export_pipeline.jobs.link_tokens import create_link, link_address
from export_pipeline.orchestration.lineage import column_lineage

CONTENT_TAG = "export_pipeline/content"
"""Tag of a materialization whose file is not the usual export of its dataset: the options that differ."""
_MAX_TAG = 63


def content_tags(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a materialization: a mark if its file is not the usual export.

    The metadata `only` names all options; a tag has at most 63 characters.

    Args:
        choices: Options that make the file differ from the usual export.
    """
    return {CONTENT_TAG: "-".join(choices)[:_MAX_TAG].rstrip("-_.")} if choices else {}


def file_metadata(file: FileSummary, link: str | None) -> dict[str, Any]:
    """Return the metadata of a materialization in the order in which Dagster shows them.

    First what a person looks for. Links of the store are not in it: they expire too soon.

    Args:
        link: Address at the HTTP service from which the file can be downloaded.
    """
    metadata: dict[str, Any] = {}
    if link is not None:
        metadata["download"] = dg.MetadataValue.url(link)
    notes = file_notes(file.rows, file.total_rows, file.warnings, file.changed)
    metadata |= {
        "file name": shown_file_name(file),
        "dagster/row_count": file.rows,
        "size": size_text(file.bytes),
        "expires": dg.MetadataValue.timestamp(file.expires_at),
        "title": dg.MetadataValue.text(_title(file)),
        **({"only": dg.MetadataValue.json(file.choices)} if file.choices else {}),
        "warnings": dg.MetadataValue.json(notes),
        **({"scope name": file.scope_name} if file.scope_name is not None else {}),
        **({"scope": file.scope} if file.scope is not None else {}),
        **({"period": file.period} if file.period else {}),
        "data as of": dg.MetadataValue.timestamp(file.snapshot_at),
    }
    if file.preview:
        metadata["preview"] = dg.MetadataValue.table([dg.TableRecord(row) for row in file.preview])
    columns = [
        dg.TableColumn(header, kind, description=file.descriptions.get(header))
        for header, kind in file.columns
    ]
    metadata["dagster/column_schema"] = dg.TableSchema(columns)
    metadata["dagster/column_lineage"] = column_lineage(file.origins)
    for column, (value, _) in file.totals.items():
        metadata[f"total {column}"] = number_to_plot(value)
    is_local = not file.location.startswith("s3://")
    return metadata | {
        "totals": dg.MetadataValue.json({column: text for column, (_, text) in file.totals.items()}),
        "rows in source": file.total_rows,
        "changed cells": dg.MetadataValue.json(file.changed),
        **({"personal data": dg.MetadataValue.json(file.personal)} if file.personal else {}),
        "options": dg.MetadataValue.json(file.options),
        "seconds": round(file.seconds, 3),
        "bytes": file.bytes,
        "sha256": file.sha256,
        "key": file.key,
        "location": (dg.MetadataValue.path if is_local else dg.MetadataValue.text)(file.location),
        "shell command": dg.MetadataValue.md(f"`export-pipeline link {file.key}`"),
    }


def shown_file_name(file: FileSummary) -> str:
    """Return the name of a file as Dagster shows it: the store's if the dataset shows scopes as ids alone."""
    is_shown = file.scope is None or file.scope_name is not None
    return file.file_name if is_shown else file.key.rpartition("/")[2]


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, e.g. the name of a customer in a file's name."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _title(file: FileSummary) -> str:
    """Return the title of an export, and how it differs from the usual one."""
    return f"{file.title} ({', '.join(file.choices)} chosen)" if file.choices else file.title


def download_link(ledger_url: str, api_url: str | None, job_id: str) -> str | None:
    """Return a link to the file of a job; None without an HTTP service, or while the ledger is down."""
    if api_url is None:
        return None
    with opened_engine(ledger_url) as engine, suppress(LedgerError):  # the file is whole without it
        # The file itself, as the metadata beside it say what its page says.
        return f"{link_address(api_url, create_link(engine, job_id, created_by='dagster')[1])}/file"
    return None
