"""No regular expression of the package takes a time that grows faster than the text it looks at."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import export_pipeline

SECONDS = 0.3
"""Far above what a linear pattern needs for LONG characters (a millisecond), far below what another one takes."""
LONG = 20_000


_SEARCHING = ("search", "finditer", "findall", "sub", "split")
_LINEAR_ENOUGH = {
    # Expressions have at most 4,000 characters.
    "model.tabular.expression_parser._TOKEN",
}


def _patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """Return the patterns of all modules, with the ways in which they are used."""
    found: dict[str, tuple[re.Pattern[Any], set[str]]] = {}
    sources = "".join(path.read_text() for path in Path(export_pipeline.__path__[0]).rglob("*.py"))
    for module in pkgutil.walk_packages(export_pipeline.__path__, "export_pipeline."):
        if ".defs." in module.name or ".migrations." in module.name or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                used = {
                    "search" if way in _SEARCHING else way
                    for way in re.findall(rf"\b{name}\.(\w+)\(", sources)
                }
                known = used & {"search", "match", "fullmatch"}
                found[f"{module.name.removeprefix('export_pipeline.')}.{name}"] = (value, known or {"search"})
    return {name: one for name, one in found.items() if name not in _LINEAR_ENOUGH}


PATTERNS = _patterns()


def _letters(parsed: Any) -> Iterator[str]:
    """Yield a sample of the characters that a parsed pattern speaks of."""
    for kind, value in parsed:
        if kind in (_constants.LITERAL, _constants.NOT_LITERAL):
            yield chr(value)
        elif kind is _constants.RANGE:
            yield chr(value[0])
        elif kind is _constants.CATEGORY:
            yield {_constants.CATEGORY_DIGIT: "7", _constants.CATEGORY_SPACE: " "}.get(value, "w")
        elif kind is _constants.IN:
            yield from list(_letters(value))[:6]
        elif isinstance(value, _parser.SubPattern):
            yield from _letters(value)
        elif isinstance(value, tuple | list):
            yield from _letters(
                (None, part) for part in value if isinstance(part, _parser.SubPattern | tuple | list)
            )


def _words(parsed: Any) -> Iterator[str]:
    """Yield the longest runs of literal characters."""
    word = ""
    for kind, value in parsed:
        if kind is _constants.LITERAL:
            word += chr(value)
            continue
        if word:
            yield word
        word = ""
        for part in value if isinstance(value, tuple | list) else [value]:
            for inner in part if isinstance(part, list) else [part]:
                if isinstance(inner, _parser.SubPattern):
                    yield from _words(inner)
    if word:
        yield word


def _hostile(pattern: re.Pattern[Any]) -> Iterator[str]:
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    parsed = _parser.parse(
        text, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    )
    letters = list(dict.fromkeys([*_letters(parsed), *"a7 .\n"]))[:24]
    words = list(dict.fromkeys(_words(parsed)))[:12]
    pumps = [*letters, *words, *(a + b for a in letters[:8] for b in letters[:8] if a != b)]
    pumps += [word + letter for word in words for letter in letters[:8]]
    for pump in dict.fromkeys(pumps):
        for begin in ("", "\x02", *words[:2]):
            yield begin + (pump * LONG)[:LONG] + "\x01"


def _seconds(pattern: re.Pattern[Any], ways: set[str], text: Any) -> float:
    begun = time.thread_time()
    for way in ways - {"search"}:
        getattr(pattern, way)(text)
    for _ in pattern.finditer(text) if "search" in ways else ():
        pass
    return time.thread_time() - begun


@pytest.mark.slow
@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_is_slower_than_linear(name: str) -> None:
    pattern, ways = PATTERNS[name]
    for text in _hostile(pattern):
        given: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
        # A short text first: what is exponential would never end with a long one.
        if any(_seconds(pattern, ways, given[:size] + given[-1:]) > SECONDS for size in (26, 34, 2_000)):
            pytest.fail(f"{pattern.pattern!r} takes for ever on a short text such as {given[:20]!r}")
        if (taken := _seconds(pattern, ways, given)) > SECONDS:
            pytest.fail(f"{pattern.pattern!r} takes {taken:.1f} s on {LONG:,} characters of {given[:20]!r}")
