"""Steps of runs: their context, config and failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.dependency import NodeHandle

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext


def step_of(context: dg.OutputContext | dg.InputContext) -> StepExecutionContext:
    """Return the step of an IO manager's call: its run, instance, job and number of earlier tries."""
    return context.step_context


def config_of_op(context: dg.OpExecutionContext, name: str) -> Any:
    """Return the config of another op in the same graph, which may not be part of the run."""
    handle = NodeHandle(name, context.op_handle.parent)
    return context.get_step_execution_context().resolved_run_config.ops[str(handle)].config


@dataclass(frozen=True, slots=True)
class StepFailure:
    """The failure of a step.

    Attributes:
        step: Name of the op, without the name of its graph.
        description: The message of a `dagster.Failure`; None for another exception.
        error: The message of the innermost exception, if there is one.
        is_interrupt: True if an interrupt, such as Ctrl-C, ended the step.
        is_outage: True if Dagster's own database was lost. The errors of the source, the ledger and the
            store are translated before.
    """

    step: str
    description: str | None
    error: str | None
    is_interrupt: bool
    is_outage: bool


def step_failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[StepFailure]:
    """Yield the failures of a run's steps, in order."""
    kind = dg.DagsterEventType.STEP_FAILURE
    for record in instance.get_records_for_run(run_id, of_type=kind).records:
        if event := record.event_log_entry.dagster_event:
            yield step_failure(event)


def step_failure(event: dg.DagsterEvent) -> StepFailure:
    """Return the failure that an event of the type STEP_FAILURE reports."""
    failure = event.step_failure_data
    causes = []
    cause = failure.error
    while cause:
        causes.append(cause)
        cause = cause.cause
    return StepFailure(
        step=(event.step_key or "run").rpartition(".")[2],
        description=failure.user_failure_data and failure.user_failure_data.description,
        error=causes[-1].message.strip() if causes else None,
        is_interrupt=any(cause.cls_name in _INTERRUPTS for cause in causes),
        is_outage=bool(causes) and causes[-1].cls_name in _OUTAGES,
    )


_INTERRUPTS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")


_OUTAGES = ("OperationalError", "InterfaceError")
