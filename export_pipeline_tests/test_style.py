"""Names and docstrings keep to the house rules of CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from export_pipeline_tests.paths import ROOT

_ODD_DOCSTRING = re.compile(
    r'^ *"""((How|Of|What|When|Where|Whether|Which|Who|Whom|Whose|Why)\b.*)', re.MULTILINE
)
_ODD_NAME = re.compile(r"_*(found|said|told|wanted)")
_ODD_CODE = re.compile(rf"\b{_ODD_NAME.pattern}( *[:=(]|, \S+ =| in |\b.* in )")


def texts(*folders: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    folders = texts("export_pipeline", "export_pipeline_tests", "benchmarks", "docs")
    assert [(str(path), match[1]) for path, text in folders for match in _ODD_DOCSTRING.finditer(text)] == []


def test_names_are_of_the_field() -> None:
    odd = [
        f"{path}:{node.lineno}: {name}"
        for path, text in texts("export_pipeline", "export_pipeline_tests", "benchmarks", "docs")
        if "migrations" not in path.parts and _ODD_CODE.search(text)  # parsing all files would take seconds
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name | ast.arg | ast.FunctionDef | ast.AsyncFunctionDef)
        and (name := getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "name", ""))
        and _ODD_NAME.fullmatch(name)
    ]
    assert odd == []
