"""A defs.yaml that would take minutes to read is refused at once, and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from export_pipeline.components import loading
from export_pipeline.components.loading import datasets
from export_pipeline.datasets.loading import DefsError
from export_pipeline.datasets.yaml_limits import YamlLimitError, check_size

_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_LAUGHS, r"defs.yaml:\d: it has more than 50,000 values; use fewer aliases"),
        (
            "a: '" + "x" * 20_000_000 + "'",
            "defs.yaml: it has 20,000,005 bytes; a defs.yaml has at most 300,000",
        ),
        ("[" * 100_000, "defs.yaml:1: it nests more than 50 deep"),
        ("{a: " * 70_000, "defs.yaml:1: it nests more than 50 deep"),
        ("- " * 100_000, "it nests more than 50 deep"),
        ("a: &a [*a]\nb: *a\n", None),
        ("a: &a {b: 1}\nc: {<<: *a}\n", None),
        ("a: [", None),
        ("", None),
    ],
)
def test_a_file_beyond_the_limits_is_named(tmp_path: Path, text: str, message: str | None) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(text)
    if message is None:
        check_size(file)
    else:
        with pytest.raises(YamlLimitError, match=message):
            check_size(file)


def test_every_command_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "defs" / "laughs").mkdir(parents=True)
    (tmp_path / "defs" / "laughs" / "defs.yaml").write_text(_LAUGHS)
    monkeypatch.setattr(loading, "defs_folder", lambda: tmp_path / "defs")
    with pytest.raises(DefsError, match=r"laughs/defs.yaml:\d: it has more than 50,000 values"):
        datasets()
