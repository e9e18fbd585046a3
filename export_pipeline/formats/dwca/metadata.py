"""The descriptions in an archive: `meta.xml` says what its columns are, `eml.xml` what the data set is."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import escape, quoteattr

from export_pipeline.core.layout import Layout
from export_pipeline.formats.dwca.options import LICENSES, DwcaOptions
from export_pipeline.formats.dwca.terms import DC, DWC, MEDIA, MULTIMEDIA, OCCURRENCE

CORE_FILE, MEDIA_FILE = "occurrence.txt", "multimedia.txt"


def describe_files(terms: Sequence[str], media_terms: Sequence[str], license: str) -> str:
    """Return the text of `meta.xml`. The licence has no column: it is the same for all rows.

    Args:
        terms: Terms of the columns of the core after its first one, the id.
        media_terms: Terms of the columns of the extension after its first one; empty if there is none.
        license: Address of the licence.
    """
    core = _file("core", "id", DWC + "Occurrence", CORE_FILE, [OCCURRENCE[term] for term in terms], license)
    extension = (
        _file("extension", "coreid", MULTIMEDIA, MEDIA_FILE, [MEDIA[term] for term in media_terms], license)
        if media_terms
        else ""
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">\n{core}{extension}</archive>\n'
    )


def _file(element: str, key: str, row_type: str, name: str, terms: Sequence[str], license: str) -> str:
    fields = "".join(
        f"    <field index={quoteattr(str(index))} term={quoteattr(term)}/>\n"
        for index, term in enumerate(terms, 1)
    )
    if DC + "license" not in terms:
        fields += f"    <field default={quoteattr(license)} term={quoteattr(DC + 'license')}/>\n"
    return (
        f'  <{element} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" '
        f'ignoreHeaderLines="1" rowType={quoteattr(row_type)}>\n'
        f"    <files><location>{name}</location></files>\n"
        f'    <{key} index="0"/>\n{fields}  </{element}>\n'
    )


def describe_data_set(layout: Layout, options: DwcaOptions) -> str:
    """Return the text of `eml.xml`, in the Ecological Metadata Language 2.2.0 as GBIF uses it."""
    assert options.license is not None
    address, name = LICENSES[options.license]
    title = options.title or layout.title
    agent = f"<organizationName>{escape(options.creator)}</organizationName>"
    if options.contact:
        agent += f"<electronicMailAddress>{escape(options.contact)}</electronicMailAddress>"
    facts = "; ".join(f"{label}: {value}" for label, value in layout.facts)
    texts = (options.description or layout.description, facts)
    paragraphs = "".join(f"<para>{escape(text)}</para>" for text in texts if text)
    package = uuid5(NAMESPACE_URL, f"{options.creator} {title}")
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0"
    packageId="{package}/{layout.created:%Y-%m-%dT%H:%M:%SZ}" system="http://gbif.org" scope="system"
    xml:lang="en">
  <dataset>
    <title>{escape(title)}</title>
    <creator>{agent}</creator>
    <metadataProvider>{agent}</metadataProvider>
    <pubDate>{layout.created:%Y-%m-%d}</pubDate>
    <language>en</language>
    <abstract>{paragraphs or f"<para>{escape(title)}</para>"}</abstract>
    <intellectualRights><para>This work is licensed under a
      <ulink url={quoteattr(address)}><citetitle>{escape(name)}</citetitle></ulink> License.</para>
    </intellectualRights>
    <contact>{agent}</contact>
  </dataset>
</eml:eml>
"""
