"""A file that does not hold what the database holds is never published."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.formats.base import FileFacts, RenderError
from export_pipeline.formats.csv import readback, write
from export_pipeline_tests.orchestration.deployment import Deployment, failures, files

render, read_back = write.render, readback.read_back


def lose_the_last_row(layout: Any, out: Any, options: Any) -> Any:
    class Short:
        def write(self, data: Any) -> None:
            lines = bytes(data).splitlines(keepends=True)
            out.write(b"".join(lines[:-1] if len(lines) > 1 else lines))

    return render(layout, Short(), options)


def lose_it_without_a_word(layout: Any, out: Any, options: Any) -> Any:
    rendered = lose_the_last_row(layout, out, options)
    rendered.rows -= 1
    return rendered


def write_other_numbers(layout: Any, out: Any, options: Any) -> Any:
    class Other:
        def write(self, data: Any) -> None:
            out.write(bytes(data).replace(b",1.0000,", b",2.0000,"))

    return render(layout, Other(), options)


def one_row_less(path: Path, options: Any) -> FileFacts:
    facts = read_back(path, options)
    return dataclasses.replace(facts, rows=facts.rows - 1)


def no_number(path: Path, options: Any) -> FileFacts:
    return dataclasses.replace(read_back(path, options), totals={"Quantity": float("nan")})


def a_problem(path: Path, options: Any) -> FileFacts:
    return dataclasses.replace(read_back(path, options), problems=("a quote is never closed",))


SABOTAGE = [
    ("render", lose_the_last_row, "rows", "rows in the file"),
    ("render", lose_it_without_a_word, "rows", "rows in the file"),
    ("render", write_other_numbers, "totals", "quantity adds up to"),
    ("read_back", one_row_less, "rows", "rows in the file"),
    ("read_back", no_number, "totals", "quantity adds up to nan"),
    ("read_back", a_problem, "rows", "a quote is never closed"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "by", "check", "problem"), SABOTAGE, ids=[by.__name__ for _, by, _, _ in SABOTAGE]
)
def test_a_sabotaged_export_publishes_nothing(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    by: Callable[..., Any],
    check: str,
    problem: str,
) -> None:
    partition = f"{deployment.scope}|2026-02-01"
    good = files(deployment.run(["csv"], "daily", partition))["csv"]
    before = {key: deployment.read(key) for key in deployment.stored()}
    deployment.source.rows("UPDATE measurements SET quantity = 1")
    monkeypatch.setattr({"render": write, "read_back": readback}[what], what, by)
    result = deployment.run(["csv", "json"], "daily", partition)
    message = failures(result)["render_csv"]
    assert "was not published" in message
    assert problem in message
    failed = {
        (e.asset_key.path[-1], e.check_name) for e in result.get_asset_check_evaluations() if not e.passed
    }
    assert ("csv", check) in failed
    assert set(files(result)) == {"json"}  # the other format is not held up
    assert {key: deployment.read(key) for key in before} == before
    assert good["key"] in before
    monkeypatch.undo()
    assert deployment.run(["csv"], "daily", partition).success
    assert {key: deployment.read(key) for key in before} != before


@pytest.mark.slow
def test_the_limit_of_a_format_is_reported_in_one_sentence(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(layout: Any, out: Any, options: Any) -> Any:
        out.write(b"half a file")
        raise RenderError("Row 3 is too long for this format; leave out the notes.")

    monkeypatch.setattr(write, "render", refuse)
    result = deployment.run()
    assert failures(result) == {"render_csv": "Row 3 is too long for this format; leave out the notes."}
    assert deployment.stored() == set()
