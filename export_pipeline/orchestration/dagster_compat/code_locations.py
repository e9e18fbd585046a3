"""Code locations: the repository of definitions, and the location that a run belongs to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin


@contextmanager
def as_runs_of(instance: dg.DagsterInstance, module: str, location: str) -> Iterator[None]:
    """Let runs that begin in this process within a block belong to a code location.

    The UI's timeline shows only runs of a code location, and re-executes no others.

    Args:
        module: Module of the code location.
        location: Its name in workspace.yaml.
    """
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=module)
    repository = RemoteRepositoryOrigin(
        ManagedGrpcPythonEnvCodeLocationOrigin(target, location), SINGLETON_REPOSITORY_NAME
    )
    create = instance.create_run_for_job

    def create_run(job_def: dg.JobDefinition, **more: Any) -> dg.DagsterRun:
        return create(job_def=job_def, **more, remote_job_origin=RemoteJobOrigin(repository, job_def.name))

    vars(instance)["create_run_for_job"] = create_run
    try:
        yield
    finally:
        del vars(instance)["create_run_for_job"]


def repository_of(definitions: dg.Definitions) -> dg.RepositoryDefinition:
    """Return the repository that Dagster makes of definitions, with all jobs, schedules and sensors."""
    return definitions.get_repository_def()


def repository_tags(context: dg.SensorEvaluationContext) -> dict[str, str]:
    """Return the tags by which Dagster marks the runs of a sensor's repository."""
    origin = context.code_location_origin
    return {REPOSITORY_LABEL_TAG: f"{context.repository_name}@{origin.location_name if origin else None}"}


def assets_job(definitions: dg.Definitions) -> dg.JobDefinition:
    """Return the job that can materialize any of the assets."""
    return definitions.resolve_implicit_global_asset_job_def()


def is_of_module(run: dg.DagsterRun, module: str) -> bool:
    """Return whether the code location of a run is this module."""
    if run.job_code_origin is None:
        return False
    pointer = run.job_code_origin.repository_origin.code_pointer
    return isinstance(pointer, ModuleCodePointer) and pointer.module == module


def has_code_server_here(run: dg.DagsterRun) -> bool:
    """Return whether the code server of a run is on this host and uses the Python of this process."""
    if run.job_code_origin is None or run.remote_job_origin is None:
        return False
    server = run.remote_job_origin.repository_origin.code_location_origin
    is_here = isinstance(server, ManagedGrpcPythonEnvCodeLocationOrigin) or (
        isinstance(server, GrpcServerCodeLocationOrigin) and server.socket is not None
    )
    return is_here and run.job_code_origin.repository_origin.executable_path == sys.executable
