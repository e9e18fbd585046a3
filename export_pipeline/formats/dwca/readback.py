"""Read a Darwin Core Archive back by its own `meta.xml`, and check what its readers rely on."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.dwca.terms import REQUIRED
from export_pipeline.formats.sums import add_parts, sum_finite

_TEXT = "{http://rs.tdwg.org/dwc/text/}"
_LARGEST_DESCRIPTION = 1 << 20
Hashes = npt.NDArray[np.int64]


def read_back(path: Path) -> FileFacts:
    """Count the occurrences and add up their columns of numbers, by term without its address."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive).read()
    except pa.ArrowInvalid:  # its message may quote a row
        return FileFacts(0, {}, ("a table in the archive is not valid CSV",))
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, ValueError) as error:
        return FileFacts(0, {}, (f"{type(error).__name__}: {error}",))


class _Reader:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._problems: list[str] = []

    def read(self) -> FileFacts:
        meta = self._description("meta.xml")
        self._check_metadata(meta.get("metadata") or "eml.xml")
        core = meta.find(f"{_TEXT}core")
        if core is None:
            return FileFacts(0, {}, ("meta.xml: there is no core",))
        rows, totals, ids = self._core(core)
        for extension in meta.findall(f"{_TEXT}extension"):
            self._extension(extension, ids)
        return FileFacts(rows, totals, tuple(self._problems))

    def _description(self, name: str) -> ElementTree.Element:
        text = self._archive.open(name).read(_LARGEST_DESCRIPTION)
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise ValueError(f"{name} has a document type, which is never read")
        return ElementTree.fromstring(text)

    def _check_metadata(self, name: str) -> None:
        eml = self._description(name)
        for element in ("title", "creator", "contact", "intellectualRights"):
            stored = eml.find(f"dataset/{element}")
            if stored is None or not "".join(stored.itertext()).strip():
                self._problems.append(f"{name}: the data set has no {element}")

    def _core(self, core: ElementTree.Element) -> tuple[int, dict[str, float], Hashes]:
        names = self._names(core, "id")
        for term in REQUIRED:
            if term not in names:
                self._problems.append(f"meta.xml: the core has no {term}")
        sums: dict[str, list[float]] = {name: [] for name in names}
        hashes, rows = [np.empty(0, np.int64)], 0
        for batch in self._batches(core, names):
            rows += batch.num_rows
            hashes.append(_hashes(batch.column(0)))
            for name in list(sums):
                try:
                    sums[name].append(sum_finite(batch.column(names.index(name)).cast(pa.float64())))
                except pa.ArrowInvalid:
                    del sums[name]
        ids = np.sort(np.concatenate(hashes))
        if (ids[1:] == ids[:-1]).any():
            self._problems.append("an occurrenceID occurs twice")
        return rows, {name: add_parts(parts) for name, parts in sums.items() if name}, ids

    def _extension(self, extension: ElementTree.Element, ids: Hashes) -> None:
        names = self._names(extension, "coreid")
        for batch in self._batches(extension, names):
            if not np.isin(_hashes(batch.column(0)), ids).all():
                self._problems.append("a row of the extension belongs to no occurrence")
                return

    def _names(self, file: ElementTree.Element, key: str) -> list[str]:
        """Return the name of each column, without the term's address; "" for the key."""
        names = {int(field.attrib["index"]): field.attrib["term"].rpartition("/")[2]
                 for field in file.findall(f"{_TEXT}field") if "index" in field.attrib}  # fmt: skip
        key_field = file.find(f"{_TEXT}{key}")
        if key_field is None or int(key_field.attrib["index"]) != 0:
            raise ValueError(f"meta.xml: {key} is not the first column")
        return ["", *(names[index] for index in range(1, len(names) + 1))]

    def _batches(self, file: ElementTree.Element, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file as strings; an empty field is null."""
        location = file.findtext(f"{_TEXT}files/{_TEXT}location") or ""
        keys = [f"f{index}" for index in range(len(names))]
        reading = csv.ReadOptions(column_names=keys, skip_rows=1)
        parsing = csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False)
        converting = csv.ConvertOptions(
            column_types=dict.fromkeys(keys, pa.string()), null_values=[""], strings_can_be_null=True
        )
        with (
            self._archive.open(location) as stream,
            csv.open_csv(stream, reading, parsing, converting) as reader,
        ):
            yield from reader


def _hashes(texts: pa.Array) -> Hashes:
    """Return a hash of each text: two of them are equal by chance once in 10^19."""
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts))
