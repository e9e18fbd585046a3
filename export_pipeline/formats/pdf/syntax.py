"""Check the syntax of a PDF's objects and page content, by regular expressions that run at memory's speed.

RE2 makes an automaton of each, which takes a gigabyte in a second or two; a parser takes fifty. Not
everything that is right is known: a parser must look at objects nested deeper than `_DEPTH`, at images
inside page content, and at comments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

_DEPTH = 4
_SPACE = r"[\x00\t\n\f\r ]"
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_NAME = r"/(?:[^\x00-\x20\x7f-\xff()<>\[\]{}/%#]|#[0-9A-Fa-f]{2})*"
_HEX = r"<[0-9A-Fa-f\t\n\f\r ]*>"
_LITERAL = r"\((?:[^()\\]|\\(?s:.))*\)"
_SCALAR = rf"(?:{_NUMBER}|true|false|null|[0-9]+{_SPACE}+[0-9]+{_SPACE}+R)"
_OPERATORS = {
    "": "EMC BT ET q Q h S s f F f* B B* b b* n W W* T*",
    "n": "w J j M i g G Tc Tw Tz TL Tr Ts",
    "nn": "Td TD m l",
    "nnn": "rg RG",
    "nnnn": "re k K v y",
    "nnnnnn": "cm Tm c",
    "/": "gs Do BMC MP ri cs CS sh",
    "/n": "Tf",
    "|<": "BDC DP",
    "|/": "BDC DP",
    "(": "Tj '",
    "[": "TJ",
    "[n": "d",
}
"""Operators by their operands: n is a number, / a name, < a dictionary, ( a string, [ an array; | is a name
that needs no white space after it, as what follows begins with a delimiter.
"""


_NAMES = re.compile(rb"/[^\x00\s()<>\[\]{}/%]*")
_TOKENS = re.compile(
    rb"<<|>>|[\[\]]|\((?:[^()\\]|\\.)*\)?|/[^\x00\s()<>\[\]{}/%]*|[^\x00\s()<>\[\]/]+", re.DOTALL
)


def has_repeated_key(text: bytes) -> bool:
    """Return True if a dictionary in an object has a key twice; readers differ in which one holds."""
    names = _NAMES.findall(text)
    if len(set(names)) == len(names):
        return False
    is_value = False
    opened: list[set[bytes] | None] = [None]
    for token in _TOKENS.findall(text):
        keys = opened[-1]
        if token in (b"<<", b"["):
            opened.append(set() if token == b"<<" else None)
        elif token in (b">>", b"]"):
            opened.pop()
            if not opened:
                return False  # no object at all
        elif keys is not None and not is_value and token.startswith(b"/"):
            if token in keys:
                return True
            keys.add(token)
            is_value = True
            continue
        is_value = False
    return False


def are_objects(bodies: Sequence[bytes] | pa.Array) -> bool:
    """Return True if each of these is one object, with nothing but white space around it."""
    return _all_match(bodies, _object_pattern())


def are_operators(contents: Sequence[bytes]) -> bool:
    """Return True if each of these is the content of a page: operators, each with its operands."""
    return _all_match(contents, _content_pattern())


def _all_match(texts: Sequence[bytes] | pa.Array, pattern: str) -> bool:
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_binary())
    return not len(array) or bool(pc.all(pc.match_substring_regex(array, pattern)).as_py())


@cache
def _object_pattern() -> str:
    return rf"\A{_SPACE}*(?:{_SCALAR}|{_NAME}|{_closed(_DEPTH)}){_SPACE}*\z"


def _closed(depth: int) -> str:
    """Return the pattern of what ends by itself: strings, and arrays and dictionaries of this depth."""
    if not depth:
        return rf"(?:{_HEX}|{_LITERAL})"
    inner = _closed(depth - 1)
    # A number ends where something else than a digit or letter begins.
    open_ended = rf"(?:(?:{_NAME})+|{_SCALAR}(?:{_NAME})*)"
    array = rf"\[(?:{open_ended}?(?:{_SPACE}|{inner}))*{open_ended}?\]"
    value = rf"(?:{_SPACE}+{_SCALAR}|{_SPACE}*(?:{_NAME}|{inner}))"
    return rf"(?:{_HEX}|{_LITERAL}|{array}|<<{_SPACE}*(?:{_NAME}{value}{_SPACE}*)*>>)"


@cache
def _content_pattern() -> str:
    operands = {
        "n": rf"{_NUMBER}{_SPACE}+",
        "/": rf"{_NAME}{_SPACE}+",
        "|": rf"{_NAME}{_SPACE}*",
        "(": rf"(?:{_HEX}|{_LITERAL}){_SPACE}*",
        "[": rf"\[(?:{_NUMBER}|{_HEX}|{_LITERAL}|{_SPACE})*\]{_SPACE}*",
        "<": rf"<<{_SPACE}*(?:{_NAME}{_SPACE}+{_SCALAR}{_SPACE}*)*>>{_SPACE}*",
    }
    free: list[str] = []
    bound: list[str] = []
    for kinds, operators in _OPERATORS.items():
        names = "|".join(name.replace("*", r"\*") for name in operators.split())
        before = "".join(operands[kind] for kind in kinds)
        (free if kinds[:1] in ("", "n") else bound).append(f"{before}(?:{names})")
    # Between two operators there is white space, unless the operand that follows begins with a delimiter.
    one, delimited = f"(?:{'|'.join(free + bound)})", f"(?:{'|'.join(bound)})"
    return rf"\A{_SPACE}*(?:{one}(?:{_SPACE}+{one}|{delimited})*)?{_SPACE}*\z"
