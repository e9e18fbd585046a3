"""Cleaning of text before it is written to a file: by column type, never by guessing at numbers.

Two rules, both counted:

- `clean_table`, for every format: characters that XML 1.0 (so Excel, and On-Screen Takeoff) cannot hold and
  the bidi overrides U+202D and U+202E, which make text read as something else, become U+FFFD.
- `guard_formulas`, for files that a spreadsheet opens as text: a string that it would run as a formula gets a
  leading apostrophe (OWASP ASVS 1.2.10, CWE-1236). Numbers, dates and booleans are never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from export_pipeline.core.arrow import np, pa, pc
from export_pipeline.core.buffers import Marks, build_strings, bytes_of, first_bytes, offsets_of
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.tables import Table

REPLACEMENT = "\ufffd"
_ILLEGAL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{FFFE}\x{FFFF}\x{202D}\x{202E}]"
# Any invisible character may precede the sign: whitespace of any script, marks of order or direction.
_FORMULA = r"^[\s\x00\x0b\x1c-\x1f\x{85}\p{Z}\p{Cf}]*[=+\-@＝＋－＠]|^[\t\r\n\x00]"

# The first bytes of everything that _FORMULA matches: signs that are dangerous by themselves, blanks, and the
# first bytes of the multi-byte characters in UTF-8: other blanks and marks, and the full-width signs.
_SIGNS = b"=+-@\t\r\n\x00"
_BLANKS = b" \x0b\x0c\x1c\x1d\x1e\x1f" + bytes.fromhex("c2 d8 db dc e0 e1 e2 e3 ef f0 f3")
_FIRST = bytes(2 if byte in _SIGNS else 1 if byte in _BLANKS else 0 for byte in range(256))
_ILLEGAL_WIDE = tuple(character.encode() for character in "\ufffe\uffff\u202d\u202e")
_LEGAL_CONTROLS = list(b"\t\n\r")

REPLACED = "characters that no file format can hold, replaced by U+FFFD"
GUARDED = "apostrophe put before text that looks like a formula"


def sanitize(data: ExportData) -> ExportData:
    """Clean every string of an export: its title, its subject's facts and its tables' cells.

    `changed` of the result is complete once its tables have been read. Every table is read once here; a table
    with nothing to replace is returned unchanged.
    """
    changed = data.changed.copy()
    facts = {"title": data.title, **{k: v for k, v in data.subject.items() if isinstance(v, str)}}
    cleaned, _ = clean_text(pa.array(list(facts.values()), pa.string()))
    clean_facts = dict(zip(facts, cleaned.to_pylist(), strict=True))
    for name, text in clean_facts.items():
        if text != facts[name]:
            changed[REPLACED, name if name == "title" else f"{data.dataset}.{name}"] += 1
    title = clean_facts.pop("title")
    # Table "member.rows" of a bundle is counted under its member's label, "member: rows".
    tables = {
        name: clean_table(table, changed, name.replace(".", ": ", 1)) for name, table in data.tables.items()
    }
    return replace(data, title=title, subject={**data.subject, **clean_facts}, tables=tables, changed=changed)


def clean_table(table: Table, changed: Counter[tuple[str, str]], label: str | None = None) -> Table:
    """Return the table with `clean_text` applied to its text columns.

    Each complete pass sets the table's counts in `changed`, so that reading twice counts once. A table with
    random access and nothing to replace is returned unchanged.

    Args:
        table: The table to clean.
        changed: Counts of changed cells by (reason, column).
        label: Name of the table in the counts; by default its own.
    """
    texts = [index for index, column in enumerate(table.columns) if column.kind.is_text]
    if table.mapped is not None and not any(
        _suspicious(batch.column(index)) for batch in table.open() for index in texts
    ):
        return table

    before = changed.copy()

    def opened() -> Iterator[pa.RecordBatch]:
        counted: Counter[tuple[str, str]] = Counter()
        for batch in table.open():
            arrays = list(batch.columns)
            for index in texts:
                arrays[index], cells = clean_text(arrays[index])
                if cells:
                    counted[REPLACED, f"{label or table.name}.{table.columns[index].name}"] += cells
            yield pa.RecordBatch.from_arrays(arrays, batch.schema.names)
        for key, count in counted.items():
            changed[key] = before[key] + count

    return Table(table.name, table.columns, table.rows, opened)


def clean_text(array: pa.Array) -> tuple[pa.Array, int]:
    """Replace illegal characters in a string array; also return the number of changed cells."""
    if not _suspicious(array):
        return array, 0
    cells = pc.sum(pc.match_substring_regex(array, _ILLEGAL)).as_py() or 0
    return (pc.replace_substring_regex(array, _ILLEGAL, REPLACEMENT) if cells else array), cells


def _suspicious(array: pa.Array) -> bool:
    """Return whether any byte of the array may belong to a match of _ILLEGAL (or lies under a null)."""
    data = bytes_of(array)
    if not len(data):
        return False
    controls = data[data < 0x20]
    if len(controls) and not np.isin(controls, _LEGAL_CONTROLS).all():
        return True
    if data.max() < 0xE2:
        return False
    text = data.tobytes()
    return any(character in text for character in _ILLEGAL_WIDE)


def guard_formulas(array: pa.Array) -> tuple[pa.Array, int]:
    """Put an apostrophe before cells that look like formulas; also return their number."""
    marks = _formulas(array)
    cells = 0 if marks is None else int(marks.sum())
    if marks is None or not cells:
        return array, 0
    offsets, data = offsets_of(array), bytes_of(array).data
    starts = [0, *(offsets[:-1][marks] - offsets[0]).tolist(), len(data)]
    guarded = b"'".join([data[start:end] for start, end in pairwise(starts)])
    added = np.zeros(len(offsets), np.int32)
    np.cumsum(marks, out=added[1:])
    return build_strings(guarded, offsets - offsets[0] + added, array), cells


def _formulas(array: pa.Array) -> Marks | None:
    """Return which cells look like formulas; None if no cell does.

    The first byte decides; after blanks, the whole regular expression does.
    """
    first = np.frombuffer(_FIRST, np.uint8)[first_bytes(array)]
    if not first.any():
        return None
    marks: Marks = first == 2
    unsure = np.flatnonzero(first == 1)
    if len(unsure):
        matches = pc.match_substring_regex(array.take(pa.array(unsure)), _FORMULA)
        marks[unsure] = np.asarray(pc.fill_null(matches, False))
    if array.null_count:
        marks &= np.asarray(array.is_valid())
    return marks
