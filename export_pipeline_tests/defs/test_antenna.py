"""Occurrences from the tables that the Antenna application really has, with its addresses, names and labels."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dwca.read import DwCAReader

from export_pipeline_tests.defs.exporting import Sample
from export_pipeline_tests.services.postgres import PostgresServer

SCHEMA = Path(__file__).with_name("antenna.sql")


@pytest.fixture(scope="module")
def antenna(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with postgres.database() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(SCHEMA.read_text("utf-8").replace("%", "%%"))
        engine.dispose()
        yield Sample(url, tmp_path_factory.mktemp("antenna"))


def test_flat_rows_are_those_of_the_application(antenna: Sample) -> None:
    header, *rows = antenna.export("occurrences", 1).csv
    by_id = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    # Not 2, whose only detection marks that nothing was found, and not 3, which is not determined.
    assert list(by_id) == ["8", "1", "6", "5", "4"]
    assert by_id["1"]["event_name"] == "Saturday, Jun 20-21 2026"
    assert by_id["5"]["event_name"] == ""
    assert {id: row["best_detection_url"] for id, row in by_id.items()} == {
        "1": "https://media.example.org/detections/1.jpg",
        "4": "https://cdn.example.com/full/crop5.jpg",
        "5": "https://media.example.org/detections/6.jpg",
        "6": "",
        "8": "https://media.example.org/x9.jpg",
    }
    assert {id: row["best_detection_capture_url"] for id, row in by_id.items()} == {
        "1": "https://obj.example.org/bucket/2026/0001.jpg",
        "5": "https://obj.example.org/bucket/2026/0002.jpg",
        **dict.fromkeys(("4", "6", "8"), ""),
    }
    assert by_id["1"]["agreed_with_user"] == "Ada"
    assert by_id["1"]["best_detection_width"] == "100.5"
    assert by_id["5"]["determination_name"] == "'=cmd|calc"


def test_json_is_that_of_the_applications_interface(antenna: Sample) -> None:
    export = antenna.export("occurrences", 1)
    by_id = {row["id"]: row for row in export.json}
    first = by_id[1]
    api = "https://antenna.example.org/api/v2/"
    assert first["details"] == f"{api}occurrences/1/"
    assert first["event"]["date_label"] == "Jun 20-21 2026"
    assert first["event"]["details"] == f"{api}events/1/"
    assert first["first_appearance_timestamp"] == "2026-06-20T22:00:00.000000"
    assert first["first_appearance_time"] == "22:00:00"
    assert first["duration_label"] == "1 hours 30 min"
    assert first["duration"] == "P0DT01H30M15S"
    assert by_id[8]["duration_label"] == ""
    assert by_id[5]["first_appearance_time"] == "23:30:15.500000"
    assert first["detection_images"] == [f"https://media.example.org/detections/{n}.jpg" for n in (1, 2)]
    assert by_id[6]["detection_images"] == []
    assert first["determination"]["parent"] is None
    assert first["determination_details"]["identification"]["id"] == 2
    assert first["determination_details"]["identification"]["user"]["name"] == ""
    assert first["determination_details"]["prediction"] is None
    assert by_id[5]["determination_details"]["prediction"]["algorithm"]["name"] == "Quebec & Vermont v2"
    assert [each["withdrawn"] for each in by_id[4]["identifications"]] == [True]
    assert first["detections"][0]["capture"]["url"] == "https://obj.example.org/bucket/2026/0001.jpg"
    assert [c["id"] for c in first["detections"][0]["classifications"]] == [1, 2]
    assert "@" not in export.file("json").read_text()


def test_a_darwin_core_archive_has_the_occurrences_and_their_pictures(antenna: Sample) -> None:
    path = antenna.export("occurrences", 1).file("dwca")
    with DwCAReader(str(path)) as archive:
        rows = {row.id: row for row in archive.rows}
        assert list(rows) == [f"urn:catalog:antenna.example.org:occurrences:{n}" for n in (8, 1, 6, 5, 4)]
        first = rows["urn:catalog:antenna.example.org:occurrences:1"]
        data = {name.rpartition("/")[2]: value for name, value in first.data.items()}
        assert data["eventDate"] == "2026-06-20T22:00:00/2026-06-20T23:30:15.5"
        assert (data["scientificName"], data["taxonRank"], data["taxonID"]) == (
            "Noctua pronuba",
            "species",
            "gbif:1806270",
        )
        assert (data["decimalLatitude"], data["geodeticDatum"]) == ("45.5", "EPSG:4326")
        assert data["identificationRemarks"].endswith("Noctua pronuba by Quebec & Vermont v2, score 0.91")
        assert data["dynamicProperties"] == '{"detectionsCount":2,"determinationScore":0.91}'
        pictures = [row.data["http://purl.org/dc/terms/identifier"] for row in first.extensions]
        assert pictures == [f"https://media.example.org/detections/{n}.jpg" for n in (1, 2)]
        assert rows["urn:catalog:antenna.example.org:occurrences:6"].extensions == []
    with zipfile.ZipFile(path) as parts:
        assert not [name for name in parts.namelist() if b"@" in parts.read(name)]


def test_the_name_of_any_night_is_that_of_the_calendar(antenna: Sample) -> None:
    from datetime import datetime, timedelta

    from export_pipeline_tests.defs.exporting import spec

    nights = [datetime(1999, 12, 31, 22) + timedelta(days=97 * n) for n in range(120)]
    values = ", ".join(
        f"({n}, '', TIMESTAMP '{day}', TIMESTAMP '{day}')" for n, day in enumerate(nights, 1000)
    )
    engine = sa.create_engine(antenna.url)
    with engine.connect() as connection:  # never committed
        insert = f'INSERT INTO main_event (id, group_by, start, "end") VALUES {values}'
        connection.exec_driver_sql(insert)
        sql = spec("occurrences")["source"]["views"]["event_labels"]["sql"]
        rows = connection.exec_driver_sql(sql.replace("%", "%%")).all()
    engine.dispose()
    labels = {row.id: row.name for row in rows if row.id >= 1000}
    assert labels == {n: f"{day:%A, %b} {day.day} {day.year}" for n, day in enumerate(nights, 1000)}


def test_filters_are_shown_in_the_words_of_the_application(antenna: Sample) -> None:
    filters = {"collection": {"equals": 11}}
    plain = antenna.export("occurrences", 1, filters=filters)
    assert ("Collection", "11") in plain.layout.facts
    named = antenna.export(
        "occurrences", 1, filters=filters, filters_display={"collection": "June random 50"}
    )
    assert ("Collection", "June random 50") in named.layout.facts
    assert ("Collection", "11") not in named.layout.facts
    assert named.csv == plain.csv
    # Words for a filter that is not in use would be untrue.
    unused = antenna.export("occurrences", 1, filters_display={"collection": "June random 50"})
    assert [label for label, _ in unused.layout.facts] == ["For", "Rows", "Data as of"]
    for wrong in ({"collectio": "June"}, {"collection": "two\nlines"}, {"collection": " "}):
        with pytest.raises(ValueError, match="collectio"):
            antenna.export("occurrences", 1, filters_display=wrong)


INTERFACE = [
    "id", "details", "event", "deployment", "first_appearance_timestamp", "first_appearance_time", "duration",
    "duration_label", "determination", "detections_count", "detection_images", "determination_score",
    "determination_details", "best_machine_prediction", "identifications", "created_at", "updated_at",
    "determination_id", "detections", "predictions",
]  # fmt: skip


def test_json_has_every_key_of_the_applications_interface(antenna: Sample) -> None:
    for row in antenna.export("occurrences", 1).json:
        assert [key for key in INTERFACE if key not in row] == []
        assert list(row["determination_details"]) == ["taxon", "identification", "prediction", "score"]
        assert row["determination_details"]["taxon"]["id"] == row["determination"]["id"]
        assert row["determination_id"] == row["determination"]["id"]
        assert row["determination_details"]["score"] == row["determination_score"]
        assert len(row["detections"]) >= row["detections_count"] >= len(row["detection_images"])
