"""Findings of health checks: each has a problem, its start and a cure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from export_pipeline.orchestration.dagster_health import DaemonCode


FindingCode = Literal[
    "check_failed",
    "commands_late",
    "dataset_unfit",
    "files_overdue",
    "jobs_failing",
    "jobs_stuck",
    "jobs_waiting",
    "ledger_not_migrated",
    "ledger_unreachable",
    "ledger_unusable",
    "mail_links_local",
    "mails_failed",
    "mails_late",
    "mails_off",
    "mails_unsure",
    "materializations_late",
    "partitions_many",
    "queue_unusable",
    "queue_without_dead_letters",
    "schedule_broken",
    "schedules_late",
    "source_unreachable",
    "staging_full",
    "staging_unusable",
    "store_full",
    "store_of_a_copy",
    "store_limited",
    "store_unreachable",
    "store_unusable",
    "webhooks_failed",
    "webhooks_late",
]
"""Codes of findings about this package's parts; docs/operating.md explains each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of the deployment.

    Attributes:
        code: Code for programs; docs/operating.md lists them.
        wrong: The problem, in one sentence.
        do: The cure, in one sentence.
        since: Start of the problem, if known (UTC).
        is_advice: True if this is not a problem now, but a limit to know of.
    """

    code: FindingCode | DaemonCode
    wrong: str
    do: str
    since: datetime | None = None
    is_advice: bool = False
