"""Runs a request in this process, takes on three more, and stops for ever in the second, to be killed there.

    python -m export_pipeline_tests.orchestration.runs.killed_extra PLACE MARKER DATABASE

PLACE is begun or visible. MARKER is a file that is made when the place is reached, DATABASE one of SQLite.
"""

import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from export_pipeline.demo import bookkeeping
from export_pipeline.jobs import Job
from export_pipeline.orchestration.runs import extra_requests
from export_pipeline.store.publish import publish as publish_file
from export_pipeline_tests.orchestration.deployment import Deployment, Source
from export_pipeline_tests.orchestration.requesting import insert, launch, tick

ASKED = {"dataset": "records", "scope": bookkeeping.SHOP}


def main(place: str, marker: str, database: str) -> None:
    from export_pipeline.definitions import defs

    def stop() -> None:
        Path(marker).touch()
        time.sleep(300)

    make = extra_requests._ExtraExports._make

    def make_or_stop(self: Any, job: Job) -> Any:
        if place == "begun" and job.format == "excel":
            stop()
        return make(self, job)

    def publish_and_stop(store: Any, upload: Any, *args: Any, **more: Any) -> Any:
        published = publish_file(store, upload, *args, **more)
        if place == "visible" and upload.key.endswith(".xlsx"):
            stop()
        return published

    extra_requests._ExtraExports._make = make_or_stop  # type: ignore[method-assign]
    extra_requests.publish = publish_and_stop  # type: ignore[attr-defined]
    with dg.DagsterInstance.get() as instance:
        deployment = Deployment(Source(Path(database), ()), Path.cwd(), defs(), instance)
        insert(deployment, **ASKED)
        (request,) = tick(deployment)
        for format in ("json", "excel", "parquet"):
            insert(deployment, **ASKED, format=format)
        launch(deployment, request)


if __name__ == "__main__":
    main(*sys.argv[1:])
