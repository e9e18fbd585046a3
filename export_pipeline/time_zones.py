"""The check of time zone names, shared by settings, declarations, schedules and options."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import Any
from zoneinfo import available_timezones

# Files that Python lists with the zones; their meaning depends on the machine, or they have none.
_FILES = frozenset(("Factory", "localtime", "posixrules"))


def zone_problem(zone: Any) -> str | None:
    """Return why a value is not the name of an IANA time zone, with the closest name; None if it is one.

    The name must be in the zone database, with the same case. Python also accepts other files in its folder
    (`posix/…`, and `right/…` with leap seconds), which Arrow and databases interpret differently.
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
