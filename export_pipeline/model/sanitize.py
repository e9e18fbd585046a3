"""What is done to text before it reaches a file: by column type, never by guessing at numbers.

Two rules, both counted:

- `clean`, for every format: characters that XML 1.0 (so Excel, and On-Screen Takeoff) cannot hold and the
  bidi overrides U+202D and U+202E, which make text read as something else, become U+FFFD.
- `guard`, for files a spreadsheet opens as text: a text that a spreadsheet would run as a formula gets a
  leading apostrophe (OWASP ASVS 1.2.10, CWE-1236). Numbers, dates and booleans are never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model.export_data import ExportData
from export_pipeline.model.tables import Table

REPLACEMENT = "\ufffd"
_ILLEGAL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{FFFE}\x{FFFF}\x{202D}\x{202E}]"
# Before the sign may stand whatever prints as nothing: blanks of any script, marks of order or direction.
_FORMULA = r"^[\s\x00\x0b\x1c-\x1f\x{85}\p{Z}\p{Cf}]*[=+\-@＝＋－＠]|^[\t\r\n\x00]"

REPLACED = "characters no file format may hold replaced by U+FFFD"
GUARDED = "apostrophe put before a text that looks like a formula"


def sanitize(data: ExportData) -> ExportData:
    """The export with every text cleaned: its title, its subject's facts and its tables' cells.

    `changed` of the result is complete once its tables have been read.
    """
    changed = data.changed.copy()
    facts = {"title": data.title, **{k: v for k, v in data.subject.items() if isinstance(v, str)}}
    cleaned, _ = clean_text(pa.array(list(facts.values()), pa.string()))
    clean_facts = dict(zip(facts, cleaned.to_pylist(), strict=True))
    for name, text in clean_facts.items():
        if text != facts[name]:
            changed[REPLACED, name if name == "title" else f"{data.dataset}.{name}"] += 1
    title = clean_facts.pop("title")
    tables = {name: clean(table, changed) for name, table in data.tables.items()}
    return replace(data, title=title, subject={**data.subject, **clean_facts}, tables=tables, changed=changed)


def clean(table: Table, changed: Counter[tuple[str, str]]) -> Table:
    """The table with `clean_text` applied to its text columns; `changed` is counted while it is read."""
    texts = [index for index, column in enumerate(table.columns) if column.kind.is_text]

    def opened() -> Iterator[pa.RecordBatch]:
        for batch in table.open():
            arrays = list(batch.columns)
            for index in texts:
                arrays[index], cells = clean_text(arrays[index])
                if cells:
                    changed[REPLACED, f"{table.name}.{table.columns[index].name}"] += cells
            yield pa.RecordBatch.from_arrays(arrays, batch.schema.names)

    return Table(table.name, table.columns, table.rows, opened)


def clean_text(array: pa.Array) -> tuple[pa.Array, int]:
    """A string array without illegal characters, and how many of its cells had some."""
    cells = pc.sum(pc.match_substring_regex(array, _ILLEGAL)).as_py() or 0
    return (pc.replace_substring_regex(array, _ILLEGAL, REPLACEMENT) if cells else array), cells


def guard(array: pa.Array) -> tuple[pa.Array, int]:
    """A string array whose formula-like texts have a leading apostrophe, and how many that are."""
    dangerous = pc.match_substring_regex(array, _FORMULA)
    cells = pc.sum(dangerous).as_py() or 0
    if not cells:
        return array, 0
    guarded = pc.binary_join_element_wise(pa.scalar("'", array.type), array, pa.scalar("", array.type))
    return pc.if_else(dangerous, guarded, array), cells
