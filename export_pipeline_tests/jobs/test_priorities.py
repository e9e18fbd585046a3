"""Priorities at the ends of what a database can hold."""

from __future__ import annotations

import pytest

from export_pipeline.jobs import Ledger, LedgerError

LOWEST, HIGHEST = -(2**31), 2**31 - 1


def test_extreme_priorities_are_kept_and_order_requests(ledger: Ledger) -> None:
    asked = [LOWEST, 0, HIGHEST, -1, 1]
    for priority in asked:
        assert ledger.request("records", "csv", scope=str(priority), priority=priority).priority == priority
    claimed = [ledger.claim(1)[0].priority for _ in asked]
    assert claimed == sorted(asked, reverse=True)


@pytest.mark.parametrize("priority", [10**20, -(10**20), 10**4000])
def test_impossible_priorities_are_refused_in_one_sentence(ledger: Ledger, priority: int) -> None:
    with pytest.raises(LedgerError) as refused:
        ledger.request("records", "csv", priority=priority)
    assert "priority" in str(refused.value)
    assert len(str(refused.value)) < 300
    assert ledger.find() == []
