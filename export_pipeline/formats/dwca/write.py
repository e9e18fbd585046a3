"""Write a Darwin Core Archive: tab-separated occurrences and pictures, `meta.xml` and `eml.xml` in a ZIP."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import data_of
from export_pipeline.core.columns import Column
from export_pipeline.core.layout import Layout
from export_pipeline.core.streams import map_concurrently
from export_pipeline.formats import cells
from export_pipeline.formats.base import Changed, Rendered, RenderError
from export_pipeline.formats.dwca.metadata import CORE_FILE, MEDIA_FILE, describe_data_set, describe_files
from export_pipeline.formats.dwca.options import LICENSES, DwcaOptions
from export_pipeline.formats.dwca.terms import MEDIA, OCCURRENCE, REQUIRED
from export_pipeline.formats.excel.archive import Archive

_BREAKS = "[\t\r\n]+"
_FLATTENED = "line break or tab became a blank"


def render(layout: Layout, out: BinaryIO, options: DwcaOptions) -> Rendered:
    """Write the flat table's columns that are named by terms, and the pictures in its media column.

    Raises:
        RenderError: The licence, the creator or a required term is missing.
    """
    columns = [column for column in layout.main.columns if column.name in OCCURRENCE]
    _check(columns, options)
    assert options.license is not None
    license, _ = LICENSES[options.license]
    has_media = options.media in layout.main.schema
    media_terms = tuple(MEDIA) if has_media else ()
    done = Rendered()
    with Archive(out, layout.created) as archive:
        archive.add(
            "meta.xml", describe_files([column.name for column in columns], media_terms, license).encode()
        )
        archive.add("eml.xml", describe_data_set(layout, options).encode())
        entry = archive.entry(CORE_FILE)
        entry.write(_line(["id", *(column.name for column in columns)]))

        def lines(batch: pa.RecordBatch) -> tuple[pa.Array, Changed]:
            changed: Changed = Counter()
            return _core_lines(batch, columns, changed), changed

        for made, changed in map_concurrently(lines, layout.main.open()):
            entry.write(data_of(made))
            done.rows += len(made)
            done.changed.update(changed)
        entry.close()
        if has_media:
            entry = archive.entry(MEDIA_FILE)
            entry.write(_line(["coreid", *media_terms]))
            for part in _media_lines(layout, options.media, media_terms, done.changed):
                entry.write(part)
            entry.close()
    return done


def _check(columns: Sequence[Column], options: DwcaOptions) -> None:
    if options.license is None:
        raise RenderError(
            f"A Darwin Core Archive needs a licence; set dwca_license to one of {', '.join(LICENSES)}."
        )
    if not options.creator.strip():
        raise RenderError("A Darwin Core Archive names who made it; set dwca_creator to an organization.")
    missing = [term for term in REQUIRED if term not in {column.name for column in columns}]
    if missing:
        raise RenderError(
            f"A Darwin Core Archive needs the columns {', '.join(missing)}, which this export does not have; "
            "declare them in the defs.yaml with `formats: [dwca]`, and request them."
        )


def _core_lines(batch: pa.RecordBatch, columns: Sequence[Column], changed: Changed) -> pa.Array:
    """Return the rows as text with their line ends; the first field is the id, the occurrenceID."""
    fields = [_field(batch.column(column.name), column, changed) for column in columns]
    ids = fields[[column.name for column in columns].index("occurrenceID")]
    if pc.any(pc.equal(ids, "")).as_py():
        raise RenderError("A row has no occurrenceID; every occurrence of an archive needs one.")
    fields[-1] = pc.binary_join_element_wise(fields[-1], "\n", "")
    return pc.binary_join_element_wise(ids, *fields, "\t")


def _field(array: pa.Array, column: Column, changed: Changed) -> pa.Array:
    """Return a column's cells as text; a missing value is empty."""
    text = pc.fill_null(cells.format_exact(array), "")
    broken = pc.sum(pc.match_substring_regex(text, _BREAKS)).as_py() or 0
    if broken:
        changed[_FLATTENED, column.name] += broken
        text = pc.replace_substring_regex(text, _BREAKS, " ")
    return text


def _media_lines(layout: Layout, name: str, terms: Sequence[str], changed: Changed) -> Iterator[bytes]:
    """Yield the pictures of each batch of occurrences; one without an address is no picture."""
    for batch in layout.main.open():
        lines = []
        for id, text in zip(batch["occurrenceID"].to_pylist(), batch[name].to_pylist(), strict=True):
            for picture in _pictures(text):
                if picture.get("identifier"):
                    lines.append(
                        _line([_flat(id, changed), *(_flat(picture.get(t), changed) for t in terms)])
                    )
        yield b"".join(lines)


def _pictures(text: str | None) -> list[dict[str, Any]]:
    pictures = orjson.loads(text) if text else []
    return [each for each in pictures if isinstance(each, dict)] if isinstance(pictures, list) else []


def _flat(value: Any, changed: Changed) -> str:
    if isinstance(value, list | dict):
        value = orjson.dumps(value).decode()
    text = "" if value is None else str(value)
    flat = re.sub(_BREAKS, " ", text)
    if flat != text:
        changed[_FLATTENED, MEDIA_FILE] += 1
    return flat


def _line(fields: Sequence[str]) -> bytes:
    return ("\t".join(fields) + "\n").encode()
