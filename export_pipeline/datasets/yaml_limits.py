"""Size limits of a defs.yaml. Dagster would take minutes for a very large file or one with nested aliases."""

from __future__ import annotations

from pathlib import Path

import yaml

MAX_BYTES = 300_000
"""Enough for some thousand columns. Dagster reads a file of this size in seconds."""
MAX_NODES = 50_000
"""Maximum number of values in a file after each alias (`*name`) is replaced by its anchor (`&name`)."""
MAX_DEPTH = 50


class YamlLimitError(ValueError):
    """Raised when a file exceeds the limits. The message begins with the file."""


def check_size(file: Path) -> None:
    """Reject a file that would take too long to read.

    Raises:
        YamlLimitError: it is too large, too deep, or too large after its aliases are replaced.
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
        return  # Dagster reports it with its position
