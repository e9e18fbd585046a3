"""Read Parquet back, with the checksums of its pages."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.sums import add_parts, sum_finite


def read_back(path: Path) -> FileFacts:
    """Count rows and add up numeric columns by name, a row group at a time; verify page checksums."""
    from pyarrow import parquet

    rows = 0
    sums: dict[str, list[float]] = {}
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            names = [field.name for field in file.schema_arrow if _is_number(field.type)]
            sums = {name: [] for name in names}
            for index in range(file.num_row_groups):
                group = file.read_row_group(index, names)
                rows += file.metadata.row_group(index).num_rows
                for name in names:
                    sums[name].append(sum_finite(group.column(name).cast(pa.float64(), safe=False)))
            promised = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        return FileFacts(rows, {}, (f"not a sound Parquet file: {error}",))
    problems = () if rows == promised else (f"{rows} rows in its groups, {promised} in its footer",)
    return FileFacts(rows, {name: add_parts(parts) for name, parts in sums.items()}, problems)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
