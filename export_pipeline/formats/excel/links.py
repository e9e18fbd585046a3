"""Links of cells: to web and mail addresses, and to other sheets; nothing else becomes a link."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.formats.excel import package
from export_pipeline.formats.excel.archive import Spool
from export_pipeline.formats.excel.text import xml_attribute

MAX_LINKS = 65_530
"""Most links of a sheet."""
MAX_URL = 2_079
"""Most characters of a link's address."""
_PATH = r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%]*"
# Without a user before the host: https://bank.example@evil.example leads to the second.
_LINK = (
    rf"^(?i:https?)://[A-Za-z0-9.\-]+(?::[0-9]{{1,5}})?(?:[/?]{_PATH})?(?:#{_PATH})?$"
    rf"|^(?i:mailto):[A-Za-z0-9.!$&'*+/=?^_`~\-]+@[A-Za-z0-9.\-]+(?:\?{_PATH})?$"
)


def find_links(cells: pa.Array) -> tuple[np.ndarray, int]:
    """Return the positions of strings that are web or mail addresses, and how many others are too long."""
    texts = cells if pa.types.is_string(cells.type) else cells.cast(pa.string())
    is_link = pc.fill_null(pc.match_substring_regex(texts, _LINK), False)
    fits = pc.fill_null(pc.less_equal(pc.binary_length(texts), MAX_URL), False)
    positions = np.flatnonzero(pc.and_(is_link, fits).to_numpy(zero_copy_only=False))
    return positions, pc.sum(is_link).as_py() - len(positions) if len(texts) else 0


def all_links(cells: pa.Array) -> bool:
    """Return whether all strings are links, so that their column may look like links."""
    count = len(find_links(cells)[0])
    return count > 0 and count == len(cells) - int(cells.null_count)


class SheetLinks:
    """The links of one sheet; their addresses are kept deflated.

    Args:
        first: Number of their first relationship; those before it are the sheet's other ones.
    """

    def __init__(self, first: int) -> None:
        self._number = first
        self._cells: list[str] = []
        self._relations = Spool()
        self._relations.write(package.RELATIONSHIPS_START)
        self.left_out = 0

    def add(self, letters: str, rows: Sequence[int], urls: Sequence[str]) -> None:
        """Add the links of cells of a column, in rows counted from 1."""
        for row, url in zip(rows, urls, strict=True):
            if len(self._cells) >= MAX_LINKS:
                self.left_out += 1
                continue
            target, _, fragment = url.partition("#")
            location = f' location="{xml_attribute(fragment)}"' if fragment else ""
            self._cells.append(f'<hyperlink ref="{letters}{row}" r:id="rId{self._number}"{location}/>')
            self._relations.write(package.hyperlink(self._number, target).encode())
            self._number += 1

    @property
    def xml(self) -> str:
        """The elements of the sheet's part."""
        return "".join(self._cells)

    def finish(self, *relations: tuple[str, str]) -> Spool:
        """Return the part with all relationships of a sheet; the others are (type, target), from rId1 on."""
        self._relations.write(package.relationship_elements(relations).encode() + package.RELATIONSHIPS_END)
        self._relations.finish()
        return self._relations

    def close(self) -> None:
        """Release the memory of the addresses."""
        self._relations.close()
