"""A worker that is killed, in a module of its own: its process imports little."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from export_pipeline.api import inline_worker
from export_pipeline.api.inline_export import InlineExporter
from export_pipeline.api.inline_messages import InlineRequest
from export_pipeline.jobs.inline import InlineExports
from export_pipeline.settings import Settings
from export_pipeline.store.folder_upload import FolderUpload


def die_at(step: str, settings: Settings, folder: str, request: InlineRequest) -> None:
    """Make an export, and be killed at a step of it."""
    shown = 0

    def die_after(call: Callable[..., Any], number: int = 1) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal shown
            result = call(*args, **kwargs)
            shown += 1
            if shown == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    match step:
        case "rendered":
            InlineExporter._publish = die_after(lambda *_: None)  # type: ignore[method-assign]
        case "begun":
            InlineExports.begin_inline = die_after(InlineExports.begin_inline)  # type: ignore[method-assign]
        case "visible" | "published":
            number = 1 if step == "visible" else 2  # the second one is the manifest
            FolderUpload._show = die_after(FolderUpload._show, number)  # type: ignore[method-assign]
        case "completed":
            InlineExports.completed = die_after(InlineExports.completed)  # type: ignore[method-assign]
    datasets = inline_worker.load_datasets()  # type: ignore[attr-defined]
    InlineExporter(settings, datasets, folder).make(request)
