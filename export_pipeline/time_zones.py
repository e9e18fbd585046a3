"""Names of time zones: the one check of settings, declarations, schedules and options."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import Any
from zoneinfo import available_timezones

# Files that Python finds beside the zones: what they mean depends on the machine, or is nothing.
_FILES = frozenset(("Factory", "localtime", "posixrules"))


def zone_problem(zone: Any) -> str | None:
    """Return why a value is not the name of an IANA time zone, with the nearest name; None if it is one.

    Names are compared with those of the zone database, letter by letter. Python itself would also take other
    files in its folder (`posix/…`, `right/…` with leap seconds), which Arrow and databases read otherwise.
    """
    known = _zones()
    if isinstance(zone, str) and zone in known:
        return None
    by_fold = {name.casefold(): name for name in known}
    near = get_close_matches(str(zone)[:100].rpartition("posix/")[2].casefold(), by_fold, 1)
    hint = f"did you mean {by_fold[near[0]]}?" if near else "write one such as Europe/Berlin or UTC"
    return f"{str(zone)[:100]!r} is not an IANA time zone; {hint}"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _FILES
