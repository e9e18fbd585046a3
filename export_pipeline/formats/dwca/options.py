"""Options of Darwin Core Archives: the facts about a data set that its rows do not have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from export_pipeline.formats.base import Options

License = Literal["CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0"]

LICENSES: dict[str, tuple[str, str]] = {
    "CC0-1.0": (
        "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
        "Creative Commons CC0 1.0 Universal Public Domain Dedication",
    ),
    "CC-BY-4.0": (
        "https://creativecommons.org/licenses/by/4.0/legalcode",
        "Creative Commons Attribution (CC-BY) 4.0",
    ),
    "CC-BY-NC-4.0": (
        "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
        "Creative Commons Attribution Non Commercial (CC-BY-NC) 4.0",
    ),
}
"""Address and title of the licences with which GBIF accepts data."""


class DwcaOptions(Options):
    """Options of Darwin Core Archives."""

    license: Annotated[License | None, Field(description="Licence of data and pictures; required.")] = None
    creator: Annotated[str, Field(description="Organization that made the data set; required.")] = ""
    contact: Annotated[str, Field(description="Mail address for questions about the data set.")] = ""
    title: Annotated[str, Field(description="Title of the data set; by default that of the export.")] = ""
    description: Annotated[str, Field(description="What the data set is about, for its readers.")] = ""
    media: Annotated[
        str, Field(description="The JSON column with the pictures: an array of objects whose keys are terms.")
    ] = "media"
