"""Options of Excel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from export_pipeline.formats.base import Options


class ExcelOptions(Options):
    """Options of Excel."""

    layout: Annotated[
        Literal["report", "plain"],
        Field(
            description="`report`: title, facts and the columns that people read. `plain`: all columns, the "
            "header in row 1 and nothing else, for programs that import the sheet."
        ),
    ] = "report"
    page_size: Annotated[
        Literal["letter", "legal", "a4", "a3"], Field(description="Paper of a printed sheet.")
    ] = "letter"
    sheet_title: Annotated[
        str, Field(description="Name of the sheet of a table; empty for the export's own.")
    ] = ""
    freeze: Annotated[bool, Field(description="Keep the header in sight while people scroll.")] = True
    currency: Annotated[
        str, Field(description="Sign of money in Excel, e.g. EUR; empty for the columns' own.")
    ] = ""
    guard_formulas: Annotated[
        bool,
        Field(
            description="Put an apostrophe before text that looks like a formula in Excel too. Such cells "
            "are text and never run, but somebody may save the sheet as CSV."
        ),
    ] = False
