"""Limits of a defs.yaml: Dagster would read for minutes in a file that repeats itself, or is very large."""

from __future__ import annotations

from pathlib import Path

import yaml  # type: ignore[import-untyped]

MAX_BYTES = 300_000
"""Some thousand columns; Dagster takes seconds to read it."""
MAX_NODES = 50_000
"""Values of a file once each alias (`*name`) is replaced by what its anchor (`&name`) holds."""
MAX_DEPTH = 50


class YamlLimitError(ValueError):
    """A file is beyond the limits; the message begins with the file."""


def check_size(file: Path) -> None:
    """Refuse a file that takes too long to read.

    Raises:
        YamlLimitError: it is too large, too deep, or too large once its aliases are replaced.
    """
    if (size := file.stat().st_size) > MAX_BYTES:
        raise YamlLimitError(f"{file}: it has {size:,} bytes; a defs.yaml has at most {MAX_BYTES:,}")
    text = file.read_bytes()
    sizes: dict[str, int] = {}
    count, open_nodes = 0, list[tuple[str | None, int]]()
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                count += sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.NodeEvent):
                count += 1
                if isinstance(event, yaml.CollectionStartEvent):
                    open_nodes.append((event.anchor, count))
                    if len(open_nodes) > MAX_DEPTH:
                        raise YamlLimitError(f"{file}:{line}: it nests more than {MAX_DEPTH} deep")
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_nodes.pop()
                if anchor is not None:
                    sizes[anchor] = count - before + 1
            if count > MAX_NODES:
                raise YamlLimitError(
                    f"{file}:{line}: it has more than {MAX_NODES:,} values; use fewer aliases (`*name`)"
                )
    except yaml.YAMLError:
        return  # which Dagster tells with its place
