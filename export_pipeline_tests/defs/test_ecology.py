"""Occurrences against an oracle in plain Python over the very rows of the tables."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from export_pipeline.core.windows import Window
from export_pipeline.demo import ecology as app
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.defs.exporting import Sample, differences, plain

COLUMNS = [
    "id",
    "event_id",
    "event_name",
    "deployment_id",
    "deployment_name",
    "project_id",
    "project_name",
    "determination_id",
    "determination_name",
    "determination_score",
    "verification_status",
    "best_machine_prediction_name",
    "best_machine_prediction_algorithm",
    "best_machine_prediction_score",
    "verified_by",
    "participant_count",
    "agreed_with_algorithm",
    "agreed_with_user",
    "determination_matches_machine_prediction",
    "detections_count",
    "first_appearance_timestamp",
    "last_appearance_timestamp",
    "duration",
    "best_detection_url",
    "best_detection_bbox",
    "best_detection_width",
    "best_detection_height",
    "best_detection_capture_url",
]
API = "https://antenna.example.org/api/v2/"
NESTED = [
    "project",
    "event",
    "deployment",
    "determination",
    "determination_details",
    "best_machine_prediction",
    "identifications",
    "detections",
    "predictions",
]


class Oracle:
    """The application's rows, and what each occurrence's columns should be."""

    def __init__(self, sample: Sample) -> None:
        self.tables = {table: sample.by_id(table) for table in app.METADATA.sorted_tables}
        self.detections = self._grouped(app.DETECTIONS, "occurrence_id")
        self.classifications = self._grouped(app.CLASSIFICATIONS, "detection_id")
        self.identifications = self._grouped(app.IDENTIFICATIONS, "occurrence_id")
        self.captured = self._grouped(app.COLLECTION_CAPTURES, "sourceimagecollection_id")

    def _grouped(self, table: Any, by: str) -> dict[int, list[dict[str, Any]]]:
        groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for _, row in sorted(self.tables[table].items()):
            groups[row[by]].append(row)
        return groups

    def get(self, table: Any, number: int | None) -> dict[str, Any]:
        """A row, or one whose every column is missing."""
        return self.tables[table][number] if number is not None else defaultdict(lambda: None)

    def event_label(self, event: int | None, day: str = "{:%A}, ") -> str | None:
        """Return the name that the application gives an event: its first night, in words."""
        row = self.get(app.EVENTS, event)
        start, end = row["start"], row["end"]
        if start is None:
            return None
        until = f"-{end.day}" if end and end.date() != start.date() else ""
        return f"{day.format(start)}{start:%b} {start.day}{until} {start.year}"

    def occurrences(self, project: int) -> list[dict[str, Any]]:
        """The project's valid ones, in order."""
        rows = [
            o for o in self.tables[app.OCCURRENCES].values()
            if o["project_id"] == project and o["determination_id"] is not None
            and any(d["bbox"] for d in self.detections[o["id"]])
        ]  # fmt: skip
        score = "determination_score"
        return sorted(rows, key=lambda o: (o[score] is None, -(o[score] or 0), o["id"]))

    def best(self, occurrence: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The best prediction and the detection that stands for the occurrence."""
        seen = [d for d in self.detections[occurrence] if d["bbox"]]
        predictions = [c for d in seen for c in self.classifications[d["id"]]]
        predictions.sort(key=lambda c: (not c["terminal"], c["score"] is None, -(c["score"] or 0), c["id"]))
        prediction = predictions[0] if predictions else self.get(app.CLASSIFICATIONS, None)
        return prediction, self.tables[app.DETECTIONS][prediction["detection_id"] or seen[0]["id"]]

    def row(self, o: dict[str, Any]) -> dict[str, Any]:
        prediction, detection = self.best(o["id"])
        voices = [i for i in self.identifications[o["id"]] if not i["withdrawn"]]
        voice = max(voices, key=lambda i: (i["created_at"], i["id"])) if voices else defaultdict(lambda: None)
        agreed = self.get(app.IDENTIFICATIONS, voice["agreed_with_identification_id"])
        agreed_prediction = self.get(app.CLASSIFICATIONS, voice["agreed_with_prediction_id"])
        people = {i["user_id"] for i in voices} - {None}
        times = [d["timestamp"] for d in self.detections[o["id"]] if d["timestamp"]]
        capture, path = self.get(app.CAPTURES, detection["source_image_id"]), detection["path"]
        width, height = _size(detection["bbox"])
        base = capture["public_base_url"]
        return {
            **o,
            "event_name": self.event_label(o["event_id"]),
            "deployment_name": self.get(app.DEPLOYMENTS, o["deployment_id"])["name"],
            "project_name": self.get(app.PROJECTS, o["project_id"])["name"],
            "determination_name": self.get(app.TAXA, o["determination_id"])["name"],
            "verification_status": bool(people),
            "best_machine_prediction_name": self.get(app.TAXA, prediction["taxon_id"])["name"],
            "best_machine_prediction_algorithm": self.get(app.ALGORITHMS, prediction["algorithm_id"])["name"],
            "best_machine_prediction_score": prediction["score"],
            "verified_by": self.get(app.USERS, voice["user_id"])["name"], "participant_count": len(people),
            "agreed_with_algorithm": self.get(app.ALGORITHMS, agreed_prediction["algorithm_id"])["name"],
            "agreed_with_user": self.get(app.USERS, agreed["user_id"])["name"],
            "determination_matches_machine_prediction":
                None if prediction["taxon_id"] is None else prediction["taxon_id"] == o["determination_id"],
            "detections_count": len(self.detections[o["id"]]),
            "first_appearance_timestamp": min(times, default=None), "last_appearance_timestamp": max(times, default=None),
            "duration": _whole(max(times) - min(times)) if times else None,
            "best_detection_url": path and f"https://media.example.org/{path}",
            "best_detection_bbox": detection["bbox"], "best_detection_width": width, "best_detection_height": height,
            "best_detection_capture_url": None if base is None else base + capture["path"],
            "details": f"{API}occurrences/{o['id']}/",
            "first_appearance_time": min((t.time().isoformat() for t in times), default=None),
            "duration_label": _label(max(times) - min(times)) if times else "",
            "detection_images": [
                f"https://media.example.org/{d['path']}" for d in self.detections[o["id"]] if d["path"]
            ],
        }  # fmt: skip


def _whole(elapsed: timedelta) -> timedelta:
    return timedelta(seconds=elapsed // timedelta(seconds=1))


def _label(elapsed: timedelta) -> str:
    minutes = elapsed // timedelta(minutes=1)
    if not elapsed:
        return ""
    if elapsed < timedelta(hours=1):
        return f"{minutes} minutes"
    if elapsed < timedelta(days=1):
        return f"{minutes // 60} hours {minutes % 60} min"
    return f"{elapsed.days} days {elapsed.seconds // 3600} hours"


def _size(box: Any) -> tuple[float | None, float | None]:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(n, int | float) for n in box):
        return None, None
    return abs(box[2] - box[0]), abs(box[3] - box[1])


def _iso(elapsed: timedelta) -> str:
    """Return a duration as Django's JSON encoder writes it."""
    minutes, seconds = divmod(elapsed.seconds, 60)
    return f"P{elapsed.days}DT{minutes // 60:02d}H{minutes % 60:02d}M{seconds:02d}S"


def _csv(row: dict[str, Any]) -> list[Any]:
    """The row's cells as this dataset words them."""
    words: dict[str, Any] = dict(row)
    for name in ("verification_status", "determination_matches_machine_prediction"):
        words[name] = None if row[name] is None else str(row[name])
    for name in ("first_appearance_timestamp", "last_appearance_timestamp"):
        words[name] = row[name] and f"{row[name]:%Y-%m-%d %H:%M:%S}"
    words["duration"] = None if row["duration"] is None else str(row["duration"])
    if row["best_detection_bbox"] is not None:
        import json

        words["best_detection_bbox"] = json.dumps(row["best_detection_bbox"])
    return [words[name] for name in COLUMNS]


@pytest.fixture(scope="module")
def oracle(sample: Sample) -> Oracle:
    return Oracle(sample)


@pytest.mark.slow
@pytest.mark.parametrize("project", [app.MEADOW, app.ODD, app.EMPTY])
def test_flat_formats_hold_28_columns_of_the_oracle(sample: Sample, oracle: Oracle, project: int) -> None:
    expected = [oracle.row(o) for o in oracle.occurrences(project)]
    export = sample.export("occurrences", project)
    assert export.csv[0] == COLUMNS
    assert len(COLUMNS) == 28
    assert differences(export.csv[1:], [_csv(row) for row in expected]) == []
    assert bool(expected) == (project != app.EMPTY)
    for format in ("jsonl", "excel", "pdf", "parquet"):
        export.file(format)


def test_the_sample_holds_what_the_rules_are_about(oracle: Oracle) -> None:
    rows = [oracle.row(o) for o in oracle.occurrences(app.MEADOW)]
    assert len(rows) < sum(o["project_id"] == app.MEADOW for o in oracle.tables[app.OCCURRENCES].values())
    for name in COLUMNS:
        assert len({str(row[name]) for row in rows}) > 1 or name in ("project_id", "project_name"), name
    unclassified_first = [r for r in rows if not oracle.classifications[oracle.detections[r["id"]][0]["id"]]]
    assert any(r["best_machine_prediction_name"] for r in unclassified_first)


@pytest.mark.slow
@pytest.mark.parametrize("project", [app.MEADOW, app.ODD, app.EMPTY])
def test_json_nests_what_belongs_to_an_occurrence(sample: Sample, oracle: Oracle, project: int) -> None:
    documents = sample.export("occurrences", project).json
    occurrences = oracle.occurrences(project)
    assert [row["id"] for row in documents] == [o["id"] for o in occurrences]
    for actual, o in zip(documents, occurrences, strict=True):
        row = oracle.row(o)
        row["duration"] = None if row["duration"] is None else _iso(row["duration"])
        flat = {name: value for name, value in actual.items() if name not in NESTED}
        assert plain(flat) == plain({name: row[name] for name in flat})
        assert {"id", "determination_score", "duration", "created_at", "updated_at"} <= flat.keys()
        for detection in actual["detections"]:  # differences of doubles, which may have 17 digits
            detection |= {name: detection[name] and float(detection[name]) for name in ("width", "height")}
        assert plain({name: actual[name] for name in NESTED}) == plain(_nested(oracle, o))


def _nested(oracle: Oracle, o: dict[str, Any]) -> dict[str, Any]:
    def part(table: Any, number: int | None, *names: str, at: str = "") -> dict[str, Any] | None:
        if number is None:
            return None
        details = {"details": f"{API}{at}/{number}/"} if at else {}
        return {name: oracle.get(table, number)[name] for name in names} | details

    def taxon(number: int | None) -> dict[str, Any] | None:
        return part(app.TAXA, number, "id", "name", "rank", at="taxa")

    def prediction(c: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": c["id"], "score": c["score"], "terminal": c["terminal"],
            "taxon": taxon(c["taxon_id"]),
            "algorithm": part(app.ALGORITHMS, c["algorithm_id"], "id", "name", "key", at="ml/algorithms"),
        }  # fmt: skip

    def classification(c: dict[str, Any]) -> dict[str, Any]:
        return prediction(c) | {
            "created_at": c["created_at"], "details": f"{API}classifications/{c['id']}/"
        }  # fmt: skip

    def identification(i: dict[str, Any]) -> dict[str, Any]:
        return {
            "taxon": taxon(i["taxon_id"]),
            "user": part(app.USERS, i["user_id"], "id", "name", "image", at="users"),
            "details": f"{API}identifications/{i['id']}/",
        } | {
            name: i[name]
            for name in (
                "id", "withdrawn", "comment", "created_at", "agreed_with_identification_id",
                "agreed_with_prediction_id",
            )
        }  # fmt: skip

    def detection(d: dict[str, Any]) -> dict[str, Any]:
        capture = oracle.get(app.CAPTURES, d["source_image_id"])
        base = capture["public_base_url"]
        width, height = _size(d["bbox"])
        return {n: d[n] for n in ("id", "timestamp", "bbox")} | {
            "details": f"{API}detections/{d['id']}/",
            "url": d["path"] and f"https://media.example.org/{d['path']}",
            "width": width,
            "height": height,
            "capture": {n: capture[n] for n in ("id", "width", "height", "timestamp", "event_id")}
            | {"details": f"{API}captures/{capture['id']}/", "url": base and base + capture["path"]},
            "classifications": [classification(c) for c in oracle.classifications[d["id"]]],
        }

    best, _ = oracle.best(o["id"])
    voices = sorted(oracle.identifications[o["id"]], key=lambda i: (i["created_at"], i["id"]), reverse=True)
    heard = [i for i in voices if not i["withdrawn"]]
    detections = oracle.detections[o["id"]]
    event = part(app.EVENTS, o["event_id"], "id", "start", "end", at="events")
    return {
        "project": part(app.PROJECTS, o["project_id"], "id", "name"),
        "event": event and event | {
            "name": oracle.event_label(o["event_id"]), "date_label": oracle.event_label(o["event_id"], "")
        },
        "deployment": part(
            app.DEPLOYMENTS, o["deployment_id"], "id", "name", "latitude", "longitude", at="deployments"
        ),
        "determination": part(
            app.TAXA, o["determination_id"], "id", "name", "rank", "gbif_taxon_key", at="taxa"
        ) | {"parent": None},
        "determination_details": {
            "taxon": taxon(o["determination_id"]),
            "identification": identification(heard[0]) if heard else None,
            "prediction": classification(best) if best["id"] and not heard else None,
            "score": o["determination_score"],
        },
        "best_machine_prediction": prediction(best) if best["id"] else None,
        "identifications": [identification(i) for i in voices],
        "detections": [detection(d) for d in detections],
        "predictions": [
            classification(c) | {"detection_id": c["detection_id"]}
            for c in sorted((c for d in detections for c in oracle.classifications[d["id"]]), key=lambda c: c["id"])
        ],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["collection_id", "collection"])
@pytest.mark.parametrize("chosen", [app.MEADOW_JUNE, app.MEADOW_NOTHING])
def test_only_occurrences_of_a_capture_set(sample: Sample, oracle: Oracle, name: str, chosen: int) -> None:
    captures = {row["sourceimage_id"] for row in oracle.captured[chosen]}
    expected = [
        o["id"] for o in oracle.occurrences(app.MEADOW)
        if any(d["source_image_id"] in captures for d in oracle.detections[o["id"]])
    ]  # fmt: skip
    export = sample.export("occurrences", app.MEADOW, columns=["id"], filters={name: {"equals": chosen}})
    assert [int(row[0]) for row in export.csv[1:]] == expected
    assert bool(expected) == (chosen == app.MEADOW_JUNE)


def test_a_capture_set_that_is_not_there_is_refused_as_is_another_project_s(sample: Sample) -> None:
    messages = []
    for chosen in (999, app.ODD_ALL):
        with pytest.raises(SourceError, match=str(chosen)) as refused:
            sample.export("occurrences", app.MEADOW, filters={"collection_id": {"equals": chosen}})
        messages.append(str(refused.value).replace(str(chosen), "?"))
    assert messages[0] == messages[1]


def test_a_window_is_of_the_clock_where_the_trap_hangs(sample: Sample, oracle: Oracle) -> None:
    zone = ZoneInfo("America/New_York")
    start, end = datetime(2026, 3, 8), datetime(2026, 3, 9)  # a day of 23 hours
    window = Window("2026-03-08", start.replace(tzinfo=zone), end.replace(tzinfo=zone))
    export = sample.export("occurrences", app.MEADOW, window, columns=["id"])
    rows = [oracle.row(o) for o in oracle.occurrences(app.MEADOW)]
    first = "first_appearance_timestamp"
    expected = [r["id"] for r in rows if r[first] and start <= r[first] < end]
    assert [int(row[0]) for row in export.csv[1:]] == expected
    assert 0 < len(expected) < len(rows)


def test_addresses_of_people_are_marked_as_personal(sample: Sample) -> None:
    from export_pipeline_tests.defs.exporting import spec

    personal = {column["name"] for column in spec("occurrences")["columns"] if column.get("personal")}
    assert personal == {
        "verified_by",
        "identifiedBy",  # of Darwin Core Archives
        "agreed_with_user",
        "agreed_with_user_email",
        "identifications",
        "determination_details",
    }


def test_mail_addresses_are_in_no_file_that_nobody_asked_them_for(sample: Sample) -> None:
    export = sample.export("occurrences", app.MEADOW)
    texts = [export.file(format).read_bytes() for format in ("csv", "json", "jsonl")]
    assert not [text for text in texts if b"@example.org" in text]
    asked = sample.export("occurrences", app.MEADOW, columns=["id", "agreed_with_user_email"])
    assert "@example.org" in asked.file("csv").read_text()
