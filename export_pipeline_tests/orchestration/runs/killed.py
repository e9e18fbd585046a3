"""Runs one export on demand in this process and stops for ever at a chosen place, to be killed there.

    python -m export_pipeline_tests.orchestration.runs.killed SCOPE PLACE MARKER RUN_ID

PLACE is fetch, render or upload. MARKER is a file that is made when the place is reached.
"""

import sys
import time
from pathlib import Path
from typing import Any

from export_pipeline.formats.csv import write as csv
from export_pipeline.orchestration import staging_io_manager
from export_pipeline.orchestration.runs import staging
from export_pipeline.store import s3_multipart, s3_upload


def main(scope: str, place: str, marker: str, run_id: str) -> None:
    from export_pipeline.definitions import defs
    from export_pipeline.orchestration.runs.local_run import run_export
    from export_pipeline.settings import load_settings

    def stop() -> None:
        Path(marker).touch()
        time.sleep(300)

    save, render = staging.save_all, csv.render

    def save_half(data: Any, folder: Path, progress: Any = None) -> None:
        save(data, folder, lambda *_: stop())

    def render_half(layout: Any, out: Any, options: Any) -> Any:
        rendered = render(layout, out, options)
        out.finish()
        stop()
        return rendered

    send = s3_multipart.MultipartUpload.send_part

    def send_one(self: Any, number: int, data: Any, crc: str) -> Any:
        answer = send(self, number, data, crc)
        stop()
        return answer

    if place == "fetch":
        staging_io_manager.save_all = save_half  # type: ignore[attr-defined]
    elif place == "render":
        csv.render = render_half
    else:
        s3_multipart.MultipartUpload.send_part = send_one  # type: ignore[method-assign]
        s3_upload.PART_BYTES = 4096
    settings = load_settings()
    run_export(
        defs(), dataset="takeoff", scope=scope, formats=["csv"], options={}, staging=settings.staging_folder,
        export_id=run_id,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
