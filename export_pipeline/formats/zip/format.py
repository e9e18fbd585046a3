"""ZIP: several formats of a dataset, or several datasets of a bundle, in one file of one snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import AfterValidator, Field, create_model

from export_pipeline.core.layout import Content, Layout, Presentation, Proof
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts, Format, Options, Rendered
from export_pipeline.formats.zip.files import ZipFile, ZipOptions


class Zip(Format[ZipOptions]):
    """Archives of files in other formats, each with its manifest."""

    name = "zip"
    extension = ".zip"
    media_type = "application/zip"
    help = "Several formats, with their manifests."
    content = Content.FILES
    is_general = False

    def __init__(self, formats: Mapping[str, Format[Any]]) -> None:
        """Make the format for a registry, whose other formats are those that a ZIP can hold."""
        super().__init__()
        self.formats = formats
        names: Any = Annotated[
            tuple[str, ...], AfterValidator(self._check), Field(description="Formats of the files in a ZIP.")
        ]
        self.options = create_model("ZipOptions", __base__=Options, formats=(names, ("csv", "json")))

    def _check(self, names: tuple[str, ...]) -> tuple[str, ...]:
        able = [name for name in self.formats if name != self.name]
        if unknown := [name for name in names if name not in able]:
            raise ValueError(f"a ZIP cannot hold {', '.join(unknown)[:100]}; there are {', '.join(able)}")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"name one or more formats, each once; there are {', '.join(able)}")
        return names

    def options_of(self, request: Mapping[str, Any]) -> ZipOptions:
        values = {"formats": request["zip_formats"]} if "zip_formats" in request else {}
        names = self.options.model_validate(values).model_dump()["formats"]
        return ZipOptions(tuple(self.formats[name] for name in names), request)

    def presentation(self, options: ZipOptions) -> Presentation:
        return Presentation(self.name, self.content)

    def arrange(self, layout: Layout, options: ZipOptions) -> Layout:
        """Return the layout unchanged: each file in the ZIP arranges it for its own format."""
        return layout

    def files(self, layout: Layout, options: ZipOptions) -> Iterator[ZipFile]:
        """Yield the files: the layout, or each of its members, in each format.

        A member's own options override those of the request.
        """
        members = layout.members or {str(layout.provenance.get("dataset", "export")): layout}
        for name, member in members.items():
            request = {**options.request, **member.provenance.get("options", {})}
            for format in options.formats:
                yield ZipFile(f"{name}{format.extension}", format, member, format.options_of(request))

    def proof(self, layout: Layout, options: ZipOptions) -> Proof:
        """Return the expected content of all files; totals are by "path: column"."""
        files = self.files(layout, options)
        return Proof.join({file.path: file.format.proof(file.layout, file.options) for file in files})

    def tables(self, layout: Layout, options: ZipOptions) -> dict[str, Table]:
        """Return no table: a ZIP holds files."""
        return {}

    def personal(self, layout: Layout, options: ZipOptions) -> dict[str, tuple[str, ...]]:
        """Return the columns with personal data by "path: table"."""
        return {
            f"{file.path}: {table}": columns
            for file in self.files(layout, options)
            for table, columns in file.format.personal(file.layout, file.options).items()
        }

    def write(self, layout: Layout, out: BinaryIO, options: ZipOptions) -> Rendered:
        from export_pipeline.formats.zip import write

        return write.render(self.files(layout, options), layout, out)

    def read_back(self, path: Path, options: ZipOptions) -> FileFacts:
        from export_pipeline.formats.zip import readback

        return readback.read_back(path, self.formats, options.request)
