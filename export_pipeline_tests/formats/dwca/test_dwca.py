"""Darwin Core Archives, read by python-dwca-reader and by our own reader."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dwca.darwincore.utils import qualname
from dwca.read import DwCAReader

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts, Rendered, RenderError
from export_pipeline.formats.dwca.options import DwcaOptions
from export_pipeline.formats.dwca.readback import read_back
from export_pipeline.formats.registry import FORMATS

OPTIONS = DwcaOptions(
    license="CC-BY-4.0", creator="Moths & Co", contact="data@example.org", title="A <b> & c"
)
MULTIMEDIA = "http://rs.gbif.org/terms/1.0/Multimedia"
ROW: dict[str, Any] = {
    "occurrenceID": "urn:x:1",
    "basisOfRecord": "MachineObservation",
    "scientificName": 'Noctua "pronuba"',
    "eventDate": "2026-06-20T22:00:00/2026-06-21T01:00:00",
    "locality": "Trap A\nby the\tpond",
    "decimalLatitude": 45.5,
    "media": json.dumps([{"identifier": "https://m/1.jpg", "type": "StillImage"}, {"identifier": None}]),
    "score": 0.5,
}


def layout(*rows: dict[str, Any], without: str = "") -> Layout:
    names = [name for name in ROW if name != without]
    numbers = ("decimalLatitude", "score")
    columns = [
        Column(n, n, Kind.FLOAT if n in numbers else Kind.JSON if n == "media" else Kind.TEXT) for n in names
    ]
    data = pa.Table.from_pylist(
        [{name: row.get(name) for name in names} for row in rows],
        pa.schema([(c.name, pa.float64() if c.name in numbers else pa.string()) for c in columns]),
    )
    main = Table.of("rows", columns, data, 2)
    return Layout(
        "Occurrences", datetime(2026, 7, 1, tzinfo=UTC), main, main, (), (), facts=(("Project", "<P>"),)
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., tuple[Path, Rendered, FileFacts]]:
    def write(made: Layout, options: DwcaOptions = OPTIONS) -> tuple[Path, Rendered, FileFacts]:
        path = tmp_path / "occurrences.dwca"
        with path.open("wb") as out:
            done = FORMATS["dwca"].render(made, out, options)
        return path, done, read_back(path)

    return write


def test_another_reader_finds_occurrences_and_their_pictures(write: Callable[..., Any]) -> None:
    rows = [ROW | {"occurrenceID": f"urn:x:{n}"} for n in range(5)]
    rows[3] |= {"media": None, "decimalLatitude": None, "eventDate": ""}
    path, done, facts = write(layout(*rows))
    assert (done.rows, facts.rows, facts.problems) == (5, 5, ())
    assert facts.totals["decimalLatitude"] == 4 * 45.5
    assert done.changed["line break or tab became a blank", "locality"] == 5
    with DwCAReader(str(path)) as archive:
        assert archive.descriptor.core.type == "http://rs.tdwg.org/dwc/terms/Occurrence"
        assert archive.metadata.find("dataset/title").text == "A <b> & c"
        assert archive.metadata.find("dataset/creator/organizationName").text == "Moths & Co"
        cores = archive.rows
        assert [row.id for row in cores] == [f"urn:x:{n}" for n in range(5)]
        first = cores[0].data
        assert first[qualname("scientificName")] == 'Noctua "pronuba"'
        assert first[qualname("locality")] == "Trap A by the pond"
        assert first[qualname("decimalLatitude")] == "45.5"
        assert first["http://purl.org/dc/terms/license"].startswith(
            "https://creativecommons.org/licenses/by/4.0"
        )
        assert "score" not in {key.rpartition("/")[2] for key in first}
        pictures = [row.extensions for row in cores]
        assert [len(each) for each in pictures] == [1, 1, 1, 0, 1]
        assert pictures[0][0].rowtype == MULTIMEDIA
        assert pictures[0][0].data["http://purl.org/dc/terms/identifier"] == "https://m/1.jpg"


def test_an_archive_without_rows_is_sound(write: Callable[..., Any]) -> None:
    path, done, facts = write(layout())
    assert (done.rows, facts.rows, facts.problems) == (0, 0, ())
    with DwCAReader(str(path)) as archive:
        assert archive.rows == []


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (layout(ROW), DwcaOptions(creator="A"), "needs a licence; set dwca_license"),
        (layout(ROW), DwcaOptions(license="CC0-1.0"), "set dwca_creator"),
        (layout(ROW, without="eventDate"), OPTIONS, "needs the columns eventDate"),
        (layout(ROW | {"occurrenceID": None}), OPTIONS, "A row has no occurrenceID"),
    ],
)
def test_what_an_archive_cannot_do_without(
    write: Callable[..., Any], made: Layout, options: DwcaOptions, message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        write(made, options)


def test_what_readers_would_run_into_is_found(write: Callable[..., Any], tmp_path: Path) -> None:
    path, _, twice = write(layout(ROW, ROW))
    assert twice.problems == ("an occurrenceID occurs twice",)

    def changed(name: str, old: bytes, new: bytes) -> tuple[str, ...]:
        made = io.BytesIO()
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(made, "w") as copy:
            for entry in archive.namelist():
                data = archive.read(entry)
                copy.writestr(entry, data.replace(old, new) if entry == name else data)
        other = tmp_path / "other.dwca"
        other.write_bytes(made.getvalue())
        return read_back(other).problems

    write(layout(ROW))
    assert changed("multimedia.txt", b"urn:x:1", b"urn:x:2") == (
        "a row of the extension belongs to no occurrence",
    )
    assert changed("eml.xml", b"creator>", b"maker>") == ("eml.xml: the data set has no creator",)
    assert changed("meta.xml", b"terms/eventDate", b"terms/eventdate") == (
        "meta.xml: the core has no eventDate",
    )
    assert "not well-formed" in changed("eml.xml", b"<title>", b"<ti")[0]
    assert "document type" in changed("meta.xml", b"<archive", b"<!DOCTYPE a><archive")[0]
    assert changed("occurrence.txt", b"\tTrap A", b"") != ()
