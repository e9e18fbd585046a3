"""Contracts with Dagster about steps."""

from typing import Any

import dagster as dg

from export_pipeline.orchestration.dagster_compat.steps import (
    StepFailure,
    config_of_op,
    step_failure,
    step_failures,
    step_of,
)
from export_pipeline_tests.orchestration.dagster_compat.drawings import execute


def test_else_io_managers_would_not_know_their_run(instance: dg.DagsterInstance) -> None:
    known: list[Any] = []

    class Keeper(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: object) -> None:
            step = step_of(context)
            known.append((step.dagster_run, step.instance, step.job_def.name, step.previous_attempt_count))

        def load_input(self, context: dg.InputContext) -> int:
            known.append((step_of(context).dagster_run, step_of(context).previous_attempt_count))
            return 1

    @dg.op
    def draw() -> int:
        return 1

    @dg.op
    def look(drawn: int) -> None:
        pass

    @dg.job(resource_defs={"io_manager": dg.IOManagerDefinition.hardcoded_io_manager(Keeper())})
    def work() -> None:
        look(draw())

    result = work.execute_in_process(instance=instance)
    assert {(entry[0].run_id, entry[-1]) for entry in known} == {(result.run_id, 0)}
    assert known[0][1] is instance
    assert known[0][2] == "work"


def test_else_a_reexecution_elsewhere_would_not_know_what_to_read(instance: dg.DagsterInstance) -> None:
    known: list[Any] = []

    @dg.op(config_schema={"dataset": str})
    def read() -> int:
        return 1

    @dg.op
    def look(context: dg.OpExecutionContext, rows: int) -> None:
        known.append(config_of_op(context, "read"))

    @dg.graph
    def export() -> None:
        look(read())

    @dg.job
    def work() -> None:
        export()

    config = {"ops": {"export": {"ops": {"read": {"config": {"dataset": "records"}}}}}}
    assert work.execute_in_process(instance=instance, run_config=config).success
    assert known == [{"dataset": "records"}]


def test_else_jobs_would_not_say_why_their_run_failed(instance: dg.DagsterInstance) -> None:
    plain, reasoned, interrupted = (
        execute(instance, fails=how) for how in ("plainly", "with a reason", "interrupted")
    )
    assert list(step_failures(instance, plain.run_id)) == [
        StepFailure("drawing", None, "KeyError: '7'", is_interrupt=False, is_outage=False)
    ]
    (failure,) = step_failures(instance, reasoned.run_id)
    assert failure.description == "The page is missing."
    (failure,) = step_failures(instance, interrupted.run_id)
    assert failure.is_interrupt
    (event,) = [event for event in plain.all_events if event.is_step_failure]
    assert [step_failure(event)] == list(step_failures(instance, plain.run_id))
