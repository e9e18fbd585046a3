"""The HTTP service in a thread of this process, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import uvicorn

from export_pipeline.api.app import build_app
from export_pipeline.api.server import TimedProtocol
from export_pipeline.jobs import Attempt, File, Job, Ledger
from export_pipeline.jobs.api_keys import create_key
from export_pipeline.jobs.database import open_engine
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.keys import manifest_key, request_key
from export_pipeline.store.manifest import Manifest

WORKER = ["exports:read", "exports:write", "links:create"]
CONTENT = b"name\r\nann\r\n"


@dataclass(frozen=True)
class Running:
    """A service that listens."""

    url: str
    settings: Settings
    ledger: Ledger
    app: Any

    def key(self, *rights: str, **options: Any) -> str:
        """A new key of the service."""
        engine = open_engine(self.settings.jobs_url)
        try:
            return create_key(engine, options.pop("name", "test"), rights or WORKER, **options)[1]
        finally:
            engine.dispose()

    def client(self, *rights: str, **options: Any) -> httpx.Client:
        """A client with a new key."""
        headers = {"Authorization": f"Bearer {self.key(*rights, **options)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120)

    @property
    def store(self) -> Store:
        store: Store = self.app.state.service.store
        return store

    def complete(
        self, job_id: str, content: bytes = CONTENT, name: str = "Kita Süd.csv", days: float = 1
    ) -> Job:
        """Do what a run does: take the request, store its file, and say so."""
        start(self.ledger, job_id)
        job = self.ledger.get(job_id)
        run = Attempt(job.id, job.attempt, job.run_id)
        stored = self.store.put_bytes(content, request_key(job.scope, job.id, "csv"), media_type="text/csv")
        manifest = Manifest(
            name="export", path=stored.key.rpartition("/")[2], bytes=stored.bytes, hash=f"sha256:{stored.sha256}",
            format="csv", mediatype="text/csv", rows=1, dataset=job.dataset, scope=job.scope, snapshot_at=datetime.now(UTC),
        )  # fmt: skip
        self.store.put_bytes(manifest.to_json(), manifest_key(stored.key), media_type="application/json")
        file = File(stored.key, name, stored.bytes, 1, stored.sha256, warnings=["One row was odd."])
        return self.ledger.completed(run, file, datetime.now(UTC) + timedelta(days=days))


def start(ledger: Ledger, job_id: str) -> Job:
    """Let a run begin a request."""
    job = ledger.get(job_id)
    return ledger.started(Attempt(job.id, job.attempt, f"run-{job.id}-{job.attempt}"))


@contextmanager
def serving(settings: Settings) -> Iterator[Running]:
    """A running service; it ends with the block."""
    app = build_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        h11_max_incomplete_event_size=16 << 10,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until = time.monotonic() + 240
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        with Ledger(settings.jobs_url) as ledger:
            yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", settings, ledger, app)
    finally:
        app.state.changes.closing = True
        server.should_exit = True
        thread.join(20)
        listener.close()
