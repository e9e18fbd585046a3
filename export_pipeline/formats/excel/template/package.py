"""The parts of a template's package: read when needed, changed as XML, and otherwise kept as bytes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from export_pipeline.formats.excel.template.references import TemplateError

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
OFFICE = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_RELATIONSHIPS = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_TYPES = "{http://schemas.openxmlformats.org/package/2006/content-types}"
_CONTENT_TYPES = "[Content_Types].xml"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LARGEST = 64 << 20  # bytes of all parts


class Package:
    """The parts of a workbook, by name.

    Args:
        path: The workbook.

    Raises:
        TemplateError: It cannot be read as a workbook.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                is_ole = file.read(len(_OLE)) == _OLE
            if is_ole:
                raise TemplateError(
                    "is encrypted, or a workbook of Excel 97; save it as .xlsx without password"
                )
            with ZipFile(path) as archive:
                if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                    raise TemplateError(f"has more than {_LARGEST >> 20} MB; delete what it does not need")
                self._bytes = {
                    name: archive.read(name) for name in archive.namelist() if not name.endswith("/")
                }
        except OSError as error:
            raise TemplateError(f"cannot be read: {error.strerror}; it lies beside the YAML") from None
        except (BadZipFile, RuntimeError, NotImplementedError) as error:
            raise TemplateError(f"is not a workbook (.xlsx): {error}") from None
        self._trees: dict[str, Any] = {}
        self._changed: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The names of the parts, in the order of the file."""
        return list(self._bytes)

    def xml(self, name: str) -> Any:
        """Return the root of a part (lxml); changes to it count after `change`.

        Raises:
            TemplateError: There is no such part, or it is no XML.
        """
        from lxml import etree

        if name not in self._trees:
            if name not in self._bytes:
                raise TemplateError(f"is damaged: it has no part {name}; open it in Excel and save it again")
            parser = etree.XMLParser(resolve_entities=False, no_network=True)
            try:
                self._trees[name] = etree.fromstring(self._bytes[name], parser)
            except etree.XMLSyntaxError as error:
                raise TemplateError(
                    f"is damaged: {name}: {error}; open it in Excel and save it again"
                ) from None
        return self._trees[name]

    def change(self, name: str) -> Any:
        """Return the root of a part that is going to be changed.

        Raises:
            TemplateError: Its elements have a prefix: rows are written without one, and read back without.
        """
        self._changed.add(name)
        root = self.xml(name)
        check_namespace(root, name)
        return root

    def content(self, name: str) -> bytes:
        """Return a part's bytes: its own if nothing in it was changed."""
        from lxml import etree

        if name not in self._changed:
            return self._bytes[name]
        made: bytes = etree.tostring(
            self._trees[name], xml_declaration=True, encoding="UTF-8", standalone=True
        )
        return made

    def related(self, name: str, type: str = "") -> Iterator[tuple[str, str]]:
        """Yield (id, part name) of the parts that a part refers to, of a type such as `table`."""
        folder, _, base = name.rpartition("/")
        relations = f"{folder}/_rels/{base}.rels".lstrip("/")
        if relations not in self._bytes:
            return
        for link in self.xml(relations):
            if link.get("TargetMode") == "External":
                continue
            if type and not link.get("Type", "").endswith(f"/{type}"):
                continue
            target = link.get("Target", "")
            yield link.get("Id"), posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")

    def types(self) -> dict[str, str]:
        """Return the content type of each part that has one of its own."""
        return {
            one.get("PartName", "").lstrip("/"): one.get("ContentType", "")
            for one in self.xml(_CONTENT_TYPES).iter(f"{_TYPES}Override")
        }

    def remove(self, name: str, owner: str) -> None:
        """Remove a part, and the reference to it from the part that owns it."""
        folder, _, base = owner.rpartition("/")
        relations = f"{folder}/_rels/{base}.rels".lstrip("/")
        links = self.change(relations)
        for link in list(links):
            if posixpath.normpath(posixpath.join("/", folder, link.get("Target", ""))).lstrip("/") == name:
                links.remove(link)
        types = self.change(_CONTENT_TYPES)
        for one in list(types.iter(f"{_TYPES}Override")):
            if one.get("PartName", "").lstrip("/") == name:
                types.remove(one)
        del self._bytes[name]


def check_namespace(element: Any, part: str) -> None:
    """Raise TemplateError if the namespace of spreadsheets is not the default one."""
    if element.tag.startswith(MAIN) and element.prefix is not None:
        raise TemplateError(
            f"has XML that only some programs write (<{element.prefix}:…> in {part}); open it in Excel and "
            "save it again"
        )


def in_namespaces(root: Any, *names: str) -> Iterator[Any]:
    """Yield the elements with these local names, whatever their namespace."""
    searched = set(names)
    for element in root.iter():
        if isinstance(element.tag, str) and element.tag.rpartition("}")[2] in searched:
            yield element
