"""The branding of a company's files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Brand:
    """The branding of a company's files: its logo, color, address and footer.

    Attributes:
        logo: A PNG or JPEG file; b"" for none.
        color: The accent, "#RRGGBB"; "" for the default.
        address: Lines beside the logo.
        footer: A line at the foot of each page.
    """

    logo: bytes = b""
    color: str = ""
    address: tuple[str, ...] = ()
    footer: str = ""
