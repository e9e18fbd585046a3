"""Derives safe names from database names, and meanings from the names of columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

from pydantic import BaseModel

from export_pipeline.sources.table_names import bare_table

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def safe_name(name: str, taken: Collection[str] = (), default: str = "column") -> str:
    """Return an unused identifier of ASCII letters, digits and underscores that is nearest to a name.

    Args:
        taken: Names that are already used; case is ignored.
        default: Result for a name without any letter or digit.
    """
    safe = name
    if not _IDENTIFIER.fullmatch(name):
        ascii_name = unicodedata.normalize("NFKD", name.replace("ß", "ss").replace("%", " percent "))
        ascii_name = "".join(c for c in ascii_name if not unicodedata.combining(c))
        safe = re.sub(r"[^A-Za-z0-9]+", "_", ascii_name).strip("_") or default
        safe = f"{default}_{safe}" if safe[0].isdigit() else safe
    lowered = {one.lower() for one in taken}
    unique, number = safe, 2
    while unique.lower() in lowered:
        unique, number = f"{safe}_{number}", number + 1
    return unique


def filter_name(column: str, taken: Collection[str]) -> str:
    """Return a column's filter name: the column's, unless reserved or beginning with an underscore."""
    name = column.lstrip("_") or "column"
    return safe_name(f"{name}_value" if hasattr(BaseModel, name) else name, taken)


def dataset_name(table: str) -> str:
    """Return a dataset name for a table: lower case, a letter first, without the table's schema."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare_table(table) or table)
    name = re.sub(r"_+", "_", safe_name(parted, default="table").lower()).strip("_") or "table"
    return name if name[0].isalpha() else f"table_{name}"


def split_words(name: str) -> list[str]:
    """Return the lower-case words of a name: `CustomerId`, `customer_id`, `customer id` are customer, id."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+", " ", name)
    return parted.lower().split()


def relation_name(column: str, table: str, taken: Collection[str]) -> str:
    """Return a name for the row that a column refers to: `customer` for customer_id or CustomerId."""
    base = (
        re.sub(r"(?i)[_ -]?(?:id|uuid|key|fk|code|no)$", "", column) if len(split_words(column)) > 1 else ""
    )
    return safe_name(base or bare_table(table), taken, "other")


_LABELS = (
    "name", "full_name", "fullname", "display_name", "title", "label", "caption", "company_name", "username",
    "user_name", "last_name", "lastname", "email", "code", "number", "description",
)  # fmt: skip


def find_label(texts: Sequence[str]) -> str | None:
    """Return the text column by which people recognize a row; None if there is none."""
    by_words = {"_".join(split_words(name)): name for name in reversed(texts)}
    for label in _LABELS:
        if label in by_words:
            return by_words[label]
    return next((name for name in texts if split_words(name)[-1:] == ["name"]), None)


_TENANT = frozenset(
    (
        *("account", "organization", "organisation", "org", "tenant", "workspace", "project", "team"),
        *("client", "company", "customer", "store", "shop"),
    )
)
_CODE = re.compile(r"(^|_)(status|state|type|kind|code|currency|country|category|role|level|priority|unit)$")
_HANDLE = re.compile(r"(^|_)(name|number|no|sku|slug|reference|ref|e_?mail|username)$")
_CREATED = (
    "created_at", "created", "created_on", "created_date", "creation_date", "date_created", "inserted_at",
    "timestamp", "occurred_at", "date", "time",
)  # fmt: skip


def _plain(name: str) -> str:
    return "_".join(split_words(name))


def is_code(name: str) -> bool:
    """Return whether a column of this name has few distinct values."""
    return _CODE.search(_plain(name)) is not None


def is_handle(name: str) -> bool:
    """Return whether a column of this name identifies a row for people."""
    return _HANDLE.search(_plain(name)) is not None


_MACHINE = frozenset(
    (
        "hash",
        "sha",
        "md5",
        "digest",
        "checksum",
        "etag",
        "uuid",
        "guid",
        "path",
        "blob",
        "payload",
        "metadata",
    )
)


def is_for_machines(name: str) -> bool:
    """Return whether people rarely read a column of this name: hashes, paths, technical ids."""
    return any(re.sub("[0-9]+$", "", word) in _MACHINE or word == "md5" for word in split_words(name))


def is_cents(name: str) -> bool:
    """Return whether a column of this name counts minor units of money."""
    return split_words(name)[-1:] in (["cents"], ["pence"])


def tenant(relation: str) -> bool:
    """Return whether a relation of this name is a tenant that owns the rows referring to it."""
    return split_words(relation)[-1:] != [] and split_words(relation)[-1].removesuffix("s") in _TENANT


def find_time(names: Sequence[str]) -> str | None:
    """Return the time column that records a row's creation; None if there is none."""
    by_plain = {_plain(name): name for name in reversed(names)}
    for usual in _CREATED:
        if usual in by_plain:
            return by_plain[usual]
    return next((name for name in names if {"date", "at", "on"} & {*split_words(name)[-1:]}), None)
