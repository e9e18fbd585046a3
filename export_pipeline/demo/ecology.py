"""A sample application that watches insects with camera traps: captures, detections and classifications.

Its projects share the tables: a meadow with everyday data, and one that is only planned. Times are local times at the trap, without a zone. Everything is generated from a seed, so the
content is always the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.demo.filling import Row, refill

METADATA = sa.MetaData()
_WallClock = sa.DateTime(timezone=False)
_Json = sa.JSON(none_as_null=True)


def _table(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, METADATA, sa.Column("id", sa.BigInteger, primary_key=True), *columns)


def _to(name: str, table: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(f"{table}.id"), index=True, **options)


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(255), **options)


USERS = _table("users_user", _text("name"), _text("email", nullable=False), _text("image"))
PROJECTS = _table("main_project", _text("name", nullable=False))
DEPLOYMENTS = _table(
    "main_deployment", _text("name", nullable=False), _to("project_id", "main_project"),
    sa.Column("latitude", sa.Double), sa.Column("longitude", sa.Double),
)  # fmt: skip
EVENTS = _table(
    "main_event", _to("project_id", "main_project"), _to("deployment_id", "main_deployment"),
    _text("group_by", nullable=False), sa.Column("start", _WallClock), sa.Column("end", _WallClock),
)  # fmt: skip
TAXA = _table(
    "main_taxon", _text("name", nullable=False), _text("rank"), sa.Column("gbif_taxon_key", sa.BigInteger),
    _to("parent_id", "main_taxon"),
)  # fmt: skip
ALGORITHMS = _table("ml_algorithm", _text("name", nullable=False), _text("key"), _text("version_name"))
CAPTURES = _table(
    "main_sourceimage", _to("project_id", "main_project"), _to("deployment_id", "main_deployment"),
    _text("path", nullable=False), _text("public_base_url"), sa.Column("timestamp", _WallClock),
    sa.Column("width", sa.Integer), sa.Column("height", sa.Integer), _to("event_id", "main_event"),
)  # fmt: skip
COLLECTIONS = _table(
    "main_sourceimagecollection", _text("name", nullable=False), _to("project_id", "main_project")
)
COLLECTION_CAPTURES = _table(
    "main_sourceimagecollection_images",
    _to("sourceimagecollection_id", "main_sourceimagecollection"), _to("sourceimage_id", "main_sourceimage"),
)  # fmt: skip
OCCURRENCES = _table(
    "main_occurrence", _to("determination_id", "main_taxon"), sa.Column("determination_score", sa.Double),
    _to("event_id", "main_event"), _to("deployment_id", "main_deployment"), _to("project_id", "main_project"),
    sa.Column("created_at", _WallClock, nullable=False), sa.Column("updated_at", _WallClock, nullable=False),
)  # fmt: skip
DETECTIONS = _table(
    "main_detection", _to("source_image_id", "main_sourceimage"), _to("occurrence_id", "main_occurrence"),
    sa.Column("bbox", _Json), sa.Column("path", sa.Text), sa.Column("timestamp", _WallClock),
    _to("detection_algorithm_id", "ml_algorithm"),
)  # fmt: skip
CLASSIFICATIONS = _table(
    "main_classification", _to("detection_id", "main_detection"), _to("taxon_id", "main_taxon"),
    sa.Column("score", sa.Double), sa.Column("terminal", sa.Boolean, nullable=False), _to("algorithm_id", "ml_algorithm"),
    sa.Column("created_at", _WallClock),
)  # fmt: skip
IDENTIFICATIONS = _table(
    "main_identification", _to("user_id", "users_user"), _to("taxon_id", "main_taxon"),
    _to("occurrence_id", "main_occurrence", nullable=False), sa.Column("withdrawn", sa.Boolean, nullable=False),
    _to("agreed_with_identification_id", "main_identification"),
    _to("agreed_with_prediction_id", "main_classification"),
    sa.Column("comment", sa.Text), sa.Column("created_at", _WallClock, nullable=False),
)  # fmt: skip

MEADOW, ODD, EMPTY = 1, 2, 3
"""Ids of the projects; the second one exists only in tests."""
MEADOW_JUNE, MEADOW_NOTHING, ODD_ALL = 11, 12, 21
"""Ids of the capture sets: one with some captures, an empty one, and one of another project."""

_SPECIES = (
    "Noctua pronuba",
    "Agrotis ipsilon",
    "Xestia c-nigrum",
    "Autographa gamma",
    "Idia aemula",
    "Actias luna",
)
_COMMENTS = (
    "Clear view of the forewing.", "Wing pattern fits.", "Too blurred to be sure of the species.",
    "Compared with the reference collection.", "Antennae are visible in the next capture.",
)  # fmt: skip
# The night in which the clocks go forward at this trap, and an ordinary night.
_NIGHTS = (datetime(2026, 3, 8, 1, 58), datetime(2026, 6, 20, 22, 10), datetime(2026, 6, 21, 23, 59, 58))


def fill(engine: sa.Engine, odd_texts: Sequence[str] = ()) -> None:
    """Recreate and fill the tables.

    Args:
        odd_texts: Texts for one more project, which also gets detections with broken boxes.
    """
    filler = _Filler(odd_texts)
    filler.project(MEADOW, "Millbrook Meadow", 90, _SPECIES, "https://captures.example.org/meadow/")
    filler.rows[PROJECTS].append({"id": EMPTY, "name": "Oak Ridge (planned)"})
    filler.rows[COLLECTIONS] += [
        {"id": MEADOW_JUNE, "name": "June", "project_id": MEADOW},
        {"id": MEADOW_NOTHING, "name": "Nothing yet", "project_id": MEADOW},
    ]
    if odd_texts:
        filler.project(ODD, odd_texts[0], 40, odd_texts[:12], None)
        filler.rows[COLLECTIONS].append({"id": ODD_ALL, "name": "Everything", "project_id": ODD})
    filler.collect()
    refill(engine, METADATA, filler.rows)


class _Filler:
    def __init__(self, odd_texts: Sequence[str]) -> None:
        self.random = random.Random(1)
        self.odd_texts = odd_texts
        self.rows: dict[sa.Table, list[Row]] = {table: [] for table in METADATA.sorted_tables}
        self.rows[USERS] = [
            {"id": 1, "name": "Ada Ndiaye", "email": "ada@example.org"},
            {"id": 2, "name": "李雷", "email": "li@example.org"},
            {"id": 3, "name": None, "email": "volunteer3@example.org"},
            {"id": 4, "name": odd_texts[0] if odd_texts else "Ruth Okafor", "email": "ruth@example.org"},
        ]
        self.rows[ALGORITHMS] = [
            {"id": 1, "name": "Box finder", "version_name": "2"},
            {"id": 2, "name": "Moth or not", "version_name": "1"},
            {"id": 3, "name": "Species of the north", "version_name": "4"},
        ]

    def add(self, table: sa.Table, **row: Any) -> int:
        """Insert a row under the next id of its table; return the id."""
        number = len(self.rows[table]) + 1
        self.rows[table].append({"id": number, **row})
        return number

    def project(
        self, project: int, name: str, occurrences: int, species: Sequence[str], base_url: str | None
    ) -> None:
        self.rows[PROJECTS].append({"id": project, "name": name})
        taxa = [
            self.add(TAXA, name=s, rank="SPECIES", gbif_taxon_key=1_000_000 + i if i % 3 else None)
            for i, s in enumerate(species)
        ]
        places = [
            self.add(
                DEPLOYMENTS,
                name=f"{name}, trap {i + 1}",
                project_id=project,
                latitude=52.5 + i,
                longitude=-1.25,
            )
            for i in range(2)
        ]
        events = [
            self.add(EVENTS, project_id=project, deployment_id=places[i % 2], group_by=f"{night:%Y-%m-%d}", start=night,
                     end=night + timedelta(hours=7) if i else None)
            for i, night in enumerate(_NIGHTS)
        ]  # fmt: skip
        captures = [
            self.add(CAPTURES, project_id=project, deployment_id=places[i % 2], path=f"night {i % 3 + 1}/capture-{i:04d}.jpg",
                     public_base_url=base_url if i % 5 else None, timestamp=_NIGHTS[i % 3] + timedelta(seconds=61 * i),
                     width=4096, height=2160, event_id=events[i % 3])
            for i in range(30)
        ]  # fmt: skip
        for i in range(occurrences):
            self.occurrence(project, i, taxa, places, events, captures)

    def occurrence(
        self, project: int, i: int, taxa: list[int], places: list[int], events: list[int], captures: list[int]
    ) -> None:
        chance = self.random
        occurrence = self.add(
            OCCURRENCES,
            determination_id=None if i % 19 == 18 else chance.choice(taxa),  # null is invalid
            # Few distinct scores, so that many are equal; some are missing.
            determination_score=None if i % 8 == 7 else (0.5, 0.75, 0.9312, 1.0)[i % 4],
            event_id=None if i % 13 == 12 else events[i % 3], deployment_id=None if i % 23 == 22 else places[i % 2],
            project_id=project, created_at=datetime(2026, 7, 1, 12, i % 60), updated_at=datetime(2026, 7, 2, 12, i % 60, 30, i),
        )  # fmt: skip
        predictions: list[int] = []
        for n in range(0 if i % 29 == 28 else 1 + i % 4):
            capture = self.rows[CAPTURES][chance.choice(captures) - 1]
            box: Any = [round(chance.uniform(0, 4000), 2), chance.randrange(3000), 1000, 0.5]
            if i % 17 == 16 and project == ODD:
                box = ([1, 2, 3], {"x": 1}, ["a", 2, 3, 4], [1, None, 3, 4])[n % 4]
            if i % 31 == 30 or (i % 5 == 4 and n == 1):
                box = None if n % 2 else []  # marks that nothing was found
            detection = self.add(
                DETECTIONS, source_image_id=capture["id"], occurrence_id=occurrence, bbox=box,
                path=None if n == 2 else f"crops/{occurrence}-{n}.jpg", timestamp=None if n == 3 else capture["timestamp"],
                detection_algorithm_id=1,
            )  # fmt: skip
            predictions += self.classifications(i, n, detection, taxa)
        self.identifications(i, occurrence, taxa, predictions)

    def classifications(self, i: int, n: int, detection: int, taxa: list[int]) -> list[int]:
        """Add no classification, an intermediate one, final ones with equal scores, or one with no score."""
        if i % 7 == 6 or (i % 3 == 0 and n == 0):
            return []
        score = (0.6, 0.8, None)[(i + n) % 3]
        return [
            self.add(CLASSIFICATIONS, detection_id=detection, taxon_id=taxa[0], score=0.99, terminal=False, algorithm_id=2),
            self.add(CLASSIFICATIONS, detection_id=detection, taxon_id=None if i % 11 == 10 else taxa[(i + n) % len(taxa)],
                     score=score, terminal=i % 9 != 8, algorithm_id=None if i % 10 == 9 else 3),
        ]  # fmt: skip

    def identifications(self, i: int, occurrence: int, taxa: list[int], predictions: list[int]) -> None:
        earlier = None
        comments = self.odd_texts or _COMMENTS
        for n in range((0, 1, 2, 3, 0)[i % 5]):
            earlier = self.add(
                IDENTIFICATIONS, user_id=None if i % 21 == 20 else 1 + (i + n) % 4, taxon_id=taxa[n % len(taxa)],
                occurrence_id=occurrence, withdrawn=(i + n) % 4 == 3,
                agreed_with_identification_id=earlier if n == 1 else None,
                agreed_with_prediction_id=predictions[-1] if predictions and n != 1 else None,
                comment=comments[(i + n) % len(comments)] if n else None,
                created_at=datetime(2026, 7, 3, 9, 0) + timedelta(minutes=n // 2),  # the first two at the same time
            )  # fmt: skip

    def collect(self) -> None:
        """Put captures of June into one set, one of them twice, and all of the odd project into another."""
        for capture in self.rows[CAPTURES]:
            if capture["project_id"] == ODD:
                self.add(COLLECTION_CAPTURES, sourceimagecollection_id=ODD_ALL, sourceimage_id=capture["id"])
            elif capture["id"] % 6 == 0:
                for _ in range(1 + (capture["id"] == 6)):
                    self.add(
                        COLLECTION_CAPTURES,
                        sourceimagecollection_id=MEADOW_JUNE,
                        sourceimage_id=capture["id"],
                    )
