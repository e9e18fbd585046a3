"""The Celery app of workers. Broker and result backend are those of the launcher in dagster.yaml.

    celery -A export_pipeline.orchestration.runs.celery_app worker --concurrency 4

The worker loads the definitions once, and forks a process for each run.
"""

from __future__ import annotations

import os
import traceback
from typing import Any

import dagster as dg
from celery import Celery
from celery.signals import task_postrun, task_prerun, worker_init
from dagster_celery.tasks import create_execute_job_task

from export_pipeline.jobs import Ledger
from export_pipeline.orchestration.dagster_compat.launchers import launcher_in, run_of_task
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.orchestration.runs import warm_server
from export_pipeline.orchestration.runs.celery_launcher import CeleryRunLauncher
from export_pipeline.orchestration.runs.code_version import code_version
from export_pipeline.orchestration.runs.staging_cleanup import clean_staging
from export_pipeline.settings import SettingsError, load_settings

_ARGUMENT = "execute_job_args_packed"


def __getattr__(name: str) -> Celery:
    """Make the app when Celery asks for it."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = made = _make_app()
    return made


def _make_app() -> Celery:
    """Return the app of the launcher in dagster.yaml, with the task that executes a run.

    Raises:
        SettingsError: dagster.yaml names another launcher.
    """
    home = prepare_home()
    launcher = launcher_in(home)
    if not isinstance(launcher, CeleryRunLauncher):
        raise SettingsError(
            f"{home}/dagster.yaml names {type(launcher).__name__} as run_launcher, which gives a worker no "
            "runs; copy deploy/dagster-celery.yaml there."
        )
    create_execute_job_task(launcher.celery)
    # The common queue has the runs of other code locations.
    own = launcher.queue_of_code(code_version())
    launcher.celery.amqp.queues.select([own, launcher.default_queue])
    return launcher.celery


def _prepare(**_: Any) -> None:
    """Load the definitions before the worker forks, and remove what its dead runs have staged."""
    warm_server.load()
    pid = os.fork()  # connections of the instance must not be inherited by the runs
    if not pid:
        try:
            _clean()
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.waitpid(pid, 0)


def _expect_lease(kwargs: dict[str, Any], **_: Any) -> None:
    """Write down that the run must take its lease within a minute, so that its death is noticed."""
    if run_id := run_of_task(kwargs[_ARGUMENT], warm_server.LOCATION):
        with Ledger(load_settings().jobs_url) as ledger:
            ledger.expect_lease(run_id)


def _clean(**_: Any) -> None:
    """Remove what no re-execution needs from this worker's staging folder."""
    settings = load_settings()
    with dg.DagsterInstance.get() as instance, Ledger(settings.jobs_url) as ledger:
        clean_staging(instance, settings.staging_folder, lambda: ledger)


worker_init.connect(_prepare)
task_prerun.connect(_expect_lease)
task_postrun.connect(_clean)
