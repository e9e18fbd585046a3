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


def _patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """Return the patterns of all modules, with the ways in which they are used."""
    patterns: dict[str, tuple[re.Pattern[Any], set[str]]] = {}
    uses: dict[str, set[str]] = {}
    for path in Path(export_pipeline.__path__[0]).rglob("*.py"):
        for name, way in re.findall(r"\b(\w+)\.(\w+)\(", path.read_text()):
            uses.setdefault(name, set()).add("search" if way in _SEARCHING else way)
    for module in pkgutil.walk_packages(export_pipeline.__path__, "export_pipeline."):
        if ".defs." in module.name or ".migrations." in module.name or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                known = uses.get(name, set()) & {"search", "match", "fullmatch"}
                patterns[f"{module.name.removeprefix('export_pipeline.')}.{name}"] = (
                    value,
                    known or {"search"},
                )
    return patterns


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
        for size in (26, 34, 2_000):
            if (taken := _seconds(pattern, ways, given[:size] + given[-1:])) > SECONDS:
                pytest.fail(f"{pattern.pattern!r} takes for ever on a short text such as {given[:20]!r}")
        # What takes too long with LONG characters, be it by their cube, is seen with a tenth of them.
        if taken < SECONDS / 1_000:
            continue
        if (taken := _seconds(pattern, ways, given)) > SECONDS:
            pytest.fail(f"{pattern.pattern!r} takes {taken:.1f} s on {LONG:,} characters of {given[:20]!r}")
