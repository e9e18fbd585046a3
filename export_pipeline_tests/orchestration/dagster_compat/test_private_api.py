"""The private API of Dagster is used in one package only, and each function there has a contract test.

The name of a contract test says what would break when an undocumented name of Dagster changes.
"""

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._annotations import is_public

from export_pipeline.orchestration import dagster_compat
from export_pipeline_tests.paths import ROOT

PACKAGE = Path(str(dagster_compat.__file__)).parent


@cache
def _nodes() -> list[tuple[str, Any]]:
    """Return each node of all modules outside the package that imports, calls or has an attribute, with its file."""
    return [
        (str(file.relative_to(ROOT)), node)
        for file in (ROOT / "export_pipeline").rglob("*.py")
        if PACKAGE not in file.parents
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Attribute)
    ]


def _last_name(node: ast.AST) -> str:
    """Return the last name of an expression such as `context.instance`; empty for other expressions."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_no_other_module_imports_a_private_module_of_dagster() -> None:
    private = [
        f"{file}:{node.lineno} {name}"
        for file, node in _nodes()
        for name in _imported(node)
        if name.startswith(("dagster.", "dagster_")) and _is_private(name)
    ]
    assert private == []


def _imported(node: ast.AST) -> list[str]:
    """Return the names that a node imports, also those given to `import_module`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__"):
        return [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
    return []


def _is_private(name: str) -> bool:
    package, *rest = name.split(".")
    return package == "dagster_shared" or any(part.startswith("_") for part in rest)


def test_no_other_module_uses_an_undocumented_member_of_an_instance_a_context_or_a_run() -> None:
    contexts = (dg.OpExecutionContext, dg.OutputContext, dg.InputContext, dg.SensorEvaluationContext)
    classes: dict[str, tuple[type, ...]] = {
        "instance": (dg.DagsterInstance,),
        "_instance": (dg.DagsterInstance,),
        "context": contexts,
    }
    fields = {
        "log",
        "instance",
        "resources",
        "load_component",
        "path",
        "dagster_run",
    }  # documented without the mark
    undocumented = [
        f"{file}:{node.lineno} {ast.unparse(node)}"
        for file, node in _nodes()
        if isinstance(node, ast.Attribute) and node.attr not in fields
        for members in [classes.get(_last_name(node.value), ())]
        if members and not any(_is_documented(cls, node.attr) for cls in members)
        if any(hasattr(cls, node.attr) for cls in members)
    ]
    assert undocumented == []
    origins = [
        f"{file}:{node.lineno}"
        for file, node in _nodes()
        if isinstance(node, ast.Attribute)
        and node.attr in ("job_code_origin", "remote_job_origin", "_instance")
    ]
    assert origins == []


def _is_documented(cls: type, name: str) -> bool:
    member = inspect.getattr_static(cls, name, None)
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    try:
        return member is not None and is_public(member)
    except Exception:  # a plain value, which cannot be marked
        return False


def test_each_function_has_a_contract_in_the_tests_of_its_module() -> None:
    without = [
        f"{module.name}: {function}"
        for module in sorted(PACKAGE.glob("*.py"))
        for function in _functions(module) - _names(Path(__file__).with_name(f"test_{module.name}"))
    ]
    assert without == []


def _functions(module: Path) -> set[str]:
    statements = ast.parse(module.read_text(encoding="utf-8")).body
    functions = (node for node in statements if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name[0] != "_"}


def _names(tests: Path) -> set[str]:
    """Return the names that a file of tests uses; none if there is no such file."""
    text = tests.read_text(encoding="utf-8") if tests.exists() else ""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
