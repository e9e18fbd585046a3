"""Draws the house: which rooms of the package import which, from the imports themselves, as a mermaid chart.

    .venv/bin/python docs/draw_house.py          # write the chart into architecture.md
    .venv/bin/python docs/draw_house.py --check  # exit code 1 if the chart there is not that of today

An arrow leads from a room to one that it imports. Arrows that follow from others are left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import grimp

PAGE = Path(__file__).with_name("architecture.md")
BEGIN, END = "<!-- house: drawn by docs/draw_house.py -->", "<!-- end of house -->"
ROOMS = {
    "cli": ("cli",),
    "health, metrics, verify": ("health", "metrics", "verify", "orchestration.dagster_health"),
    "api": ("api",),
    "demo": ("demo",),
    "definitions": ("definitions",),
    "components": ("components",),
    "orchestration": ("orchestration",),
    "intake": ("intake",),
    "datasets": ("datasets",),
    "delivery": ("delivery",),
    "schedules": ("schedules",),
    "jobs": ("jobs", "configured_store"),
    "store": ("store",),
    "takeoff.source": ("takeoff.source", "takeoff.source_tables"),
    "sources.introspection": ("sources.introspection",),
    "sources": ("sources",),
    "formats.registry": ("formats.registry", "formats.options"),
    "takeoff": ("takeoff",),
    "tabular": ("tabular",),
    "formats": ("formats",),
    "expressions": ("expressions",),
    "settings": ("settings", "setting_types", "project"),
    "mail transport": ("delivery.smtp", "delivery.addresses"),
    "redaction, URLs, zones": (
        "database_faults", "database_url", "env_file", "redaction", "rights", "time_zones",
    ),
    "core": ("core",),
}  # fmt: skip
"""Rooms from top to bottom, with their modules and packages; the longest name decides. A module or package
that is not listed has a room of its own."""


def room_of(module: str) -> str | None:
    """Return the room of a module; None for the package itself."""
    name = module.removeprefix("export_pipeline").lstrip(".")
    fitting = [
        (len(prefix), room)
        for room, prefixes in ROOMS.items()
        for prefix in prefixes
        if name == prefix or name.startswith(f"{prefix}.")
    ]
    return max(fitting)[1] if fitting else name.partition(".")[0] or None


def imports() -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    graph = grimp.build_graph("export_pipeline")
    modules = sorted(graph.modules - {"export_pipeline"})
    rooms: dict[str, set[str]] = {room: set() for room in [*ROOMS, *map(str, map(room_of, modules))]}
    for module in modules:
        targets = {room_of(other) for other in graph.find_modules_directly_imported_by(module)}
        rooms[str(room_of(module))] |= {target for target in targets - {room_of(module)} if target}
    return rooms


def circles(rooms: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the pairs of rooms that import each other, however far around."""
    return {
        frozenset((one, other))
        for one in rooms
        for other in _reachable(rooms, one)
        if one != other and one in _reachable(rooms, other)
    }


def chart(rooms: dict[str, set[str]]) -> str:
    """Return the chart, with only those arrows that do not follow from others."""
    names = {room: re.sub(r"\W+", "_", room) for room in rooms}
    lines = ["```mermaid", "flowchart TB", *(f'    {names[room]}["{room}"]' for room in rooms)]
    for room, targets in rooms.items():
        direct = {
            target
            for target in targets
            if not any(target in _reachable(rooms, other) for other in targets - {target})
        }
        lines += [f"    {names[room]} --> {names[target]}" for target in rooms if target in direct]
    return "\n".join([*lines, "```"])


def _reachable(rooms: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(rooms[start])
    while waiting:
        room = waiting.pop()
        if room not in seen:
            seen.add(room)
            waiting += rooms[room]
    return seen


def main() -> None:
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    new = f"{before}{BEGIN}\n\n{chart(imports())}\n\n{END}{after}"
    if "--check" in sys.argv:
        sys.exit(new != page)
    PAGE.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
