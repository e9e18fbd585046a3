"""The interface of a format: its facts, its options, its renderer and the reader that verifies its files.

A format is a package with one subclass of `Format`, and a line in `registry`. Whatever else has to know about
formats (layouts, proofs, manifests, assets, the command line) asks this class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from export_pipeline.core.layout import Content, Layout, NestedTable, Presentation, Proof
from export_pipeline.core.tables import Table


class RenderError(Exception):
    """Raised when data cannot be written in a format. The message names the cell or limit and the remedy."""


Changed = Counter[tuple[str, str]]
"""Number of changed cells by reason and column."""


@dataclass(slots=True)
class Rendered:
    """The result of a renderer.

    Attributes:
        rows: Number of the export's rows in the file.
        changed: Number of cells that differ from the source, by (reason, column header), e.g.
            ("rounded to 4 decimals", "Quantity"). Every value that the file does not hold exactly is
            counted here.
        left_out: Number of rows that this format cannot express; each is covered by a warning or by
            `changed`.
        warnings: Sentences for the manifest that a reader of the file should know.
    """

    rows: int = 0
    left_out: int = 0
    changed: Changed = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about a file, read back from its bytes alone by code other than its writer.

    Attributes:
        rows: Number of the export's rows found in it.
        totals: Sum over these rows by column name, for the columns that the format's layout names.
        problems: Defects that a reader would run into; empty for a sound file.
        charts: Values of each chart, series by series.
    """

    rows: int
    totals: Mapping[str, float]
    problems: tuple[str, ...] = ()
    charts: tuple[tuple[float, ...], ...] = ()


class Options(BaseModel):
    """Options of one format. A request names them with the format's prefix, e.g. `csv_bom`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


OptionsT = TypeVar("OptionsT")


class Format(ABC, Generic[OptionsT]):
    """A format of export files.

    Attributes:
        name: Name in requests, e.g. "excel".
        extension: File name extension, with the dot.
        media_type: MIME type for links, mail and the store.
        help: One-line description.
        content: The part of a layout that its files hold.
        options: Its options in a request.
        prefix: Prefix of these options in a request, without the underscore; by default the name.
        names_columns: True if its files call columns by their names, False if by their headers.
        is_text: True if its files are UTF-8 text.
        is_general: True if every table can be exported in it.
        has_parts: True if an export may be several files, each with a share of the rows.
        is_for_people: True if people rather than programs read it.
        icon: Kind of its assets in Dagster's UI; by default the name.
    """

    name: str
    extension: str
    media_type: str
    help: str
    content: Content = Content.ROWS
    options: type[BaseModel] = Options
    prefix: str = ""
    names_columns: bool = True
    is_text: bool = False
    is_general: bool = True
    has_parts: bool = False
    is_for_people: bool = False
    icon: str = ""

    def __init__(self) -> None:
        self.prefix = self.prefix or self.name
        self.icon = self.icon or self.name

    @abstractmethod
    def write(self, layout: Layout, out: BinaryIO, options: OptionsT) -> Rendered:
        """Write a layout that is arranged for this format, in constant memory; only `out.write` is used.

        Raises:
            RenderError: The data cannot be written in this format.
        """

    @abstractmethod
    def read_back(self, path: Path, options: OptionsT) -> FileFacts:
        """Read a file back without its layout."""

    def presentation(self, options: OptionsT) -> Presentation:
        """Return how its files show an export: by default every value as it is."""
        return Presentation(self.name, self.content)

    def options_of(self, request: Mapping[str, Any]) -> OptionsT:
        """Return the options of this format in a request; absent ones have their defaults."""
        prefixed = {name: f"{self.prefix}_{name}" for name in self.options.model_fields}
        values = {name: request[key] for name, key in prefixed.items() if key in request}
        return cast(OptionsT, self.options.model_validate(values))

    def arrange(self, layout: Layout, options: OptionsT) -> Layout:
        """Return an export's layout as this format shows it."""
        return layout.arrange(layout, self.presentation(options)) if layout.arrange else layout

    def options_of_parts(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's options for an export in parts: by default the same."""
        return dict(request)

    def share(self, layout: Layout, start: int, stop: int) -> Layout:
        """Return an arranged layout with the rows from position `start` up to `stop` only, for a part."""
        share = layout.main.share(start, stop)
        return replace(layout, main=share, document=share)

    def render(self, layout: Layout, out: BinaryIO, options: OptionsT) -> Rendered:
        """Write an export's layout; see `write`."""
        return self.write(self.arrange(layout, options), out, options)

    def proof(self, layout: Layout, options: OptionsT) -> Proof:
        """Return the expected content of the file, under the names that `read_back` reports."""
        proof = self.arrange(layout, options).proof
        assert proof is not None
        return proof

    def tables(self, layout: Layout, options: OptionsT) -> dict[str, Table]:
        """Return the tables in the file, by the name of their place in it; a flat table is "rows"."""
        layout = self.arrange(layout, options)
        match self.content:
            case Content.SHEETS:
                return {section.title: section.table for section in layout.sheets}
            case Content.CHAPTERS:
                return {section.title: section.table for section in layout.chapters}
            case Content.DOCUMENT:
                return dict(_tables_in(layout.document, ""))
            case Content.TABLES:
                return dict(layout.tables)
        return {"rows": layout.main}

    def left_out(self, layout: Layout, options: OptionsT) -> tuple[str, ...]:
        """Return the headers of the columns that the file leaves out because people rarely read them."""
        return self.arrange(layout, options).left_out

    def personal(self, layout: Layout, options: OptionsT) -> dict[str, tuple[str, ...]]:
        """Return the columns with personal data in the file, as named in it, by table; and such facts."""
        columns = {table: list(rows.columns) for table, rows in self.tables(layout, options).items()}
        if self.content is Content.CHAPTERS:
            for section in self.arrange(layout, options).chapters:
                columns[section.title] += section.titled_by
        named = {
            table: dict.fromkeys(
                column.name if self.names_columns else column.header for column in of_table if column.personal
            )
            for table, of_table in columns.items()
        }
        listed = {table: tuple(names) for table, names in named.items() if names}
        if layout.personal_facts and self.content is not Content.ROWS:
            listed["facts"] = layout.personal_facts
        return listed


def _tables_in(value: Any, name: str) -> Iterator[tuple[str, Table]]:
    """Yield the tables of a JSON document, named by their keys."""
    if isinstance(value, Table):
        yield name or "rows", value
    elif isinstance(value, NestedTable):
        yield name, value.parent
        yield f"{name}.{value.child_name}", value.child
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tables_in(item, f"{name}.{key}" if name else str(key))
