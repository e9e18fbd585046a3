"""Jobs whose files are in the store, and one that nobody has."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from export_pipeline.jobs import File, Job, Ledger, Status
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.jobs.lives import job_in, run_of

NOBODY = "00000000-0000-4000-8000-000000000000"


def stored(ledger: Ledger, folder: Path, scope: str = "a", days: float = 1) -> Job:
    """A completed job whose file is in the store."""
    job = job_in(ledger, Status.PROCESSING, scope)
    file = FolderStore(folder / "store").put_bytes(
        b"a\r\n1\r\n", f"exports/{scope}/{job.id}.csv", media_type="text/csv"
    )
    expires_at = datetime.now(UTC) + timedelta(days=days)
    return ledger.completed(
        run_of(job), File(file.key, "Kita Süd.csv", file.bytes, 1, file.sha256), expires_at
    )
