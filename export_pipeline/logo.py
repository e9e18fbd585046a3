"""The logo of a deployment's files, checked when settings are loaded."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path

_MOST_BYTES = 2_000_000
_MOST_PIXELS = 16_000_000
_FONTS = Path(__file__).parent / "formats" / "pdf" / "fonts"
_SVG_WIDTH = 1_200
"""Pixels across that an SVG is drawn with: enough for print."""


def read_logo(path: Path) -> bytes:
    """Return a logo as the bytes of a PNG or JPEG file; an SVG is drawn.

    Raises:
        ValueError: The file is missing, too large, or no sound image of these kinds.
    """
    try:
        facts = path.stat()
        if not path.is_file():
            raise ValueError(f"is not a file: {path}")
        return _read(path, facts.st_mtime_ns, facts.st_size)
    except OSError as error:
        raise ValueError(f"cannot be read: {path} ({error.strerror})") from None


@lru_cache(2)
def _read(path: Path, _modified: int, size: int) -> bytes:
    if size > _MOST_BYTES:
        raise ValueError(f"has {size:,} bytes, at most {_MOST_BYTES:,} are allowed: {path}")
    data = path.read_bytes()
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        data = _draw_svg(data, path)
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"has {image.width:,} x {image.height:,} pixels, which is too large: {path}")
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise ValueError(f"is not a PNG, JPEG or SVG image: {path}") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"is a damaged image ({error}): {path}") from None
    return data


def _draw_svg(data: bytes, path: Path) -> bytes:
    from resvg_py import svg_to_bytes

    try:
        # Without fonts of the machine a logo looks the same everywhere.
        return bytes(
            svg_to_bytes(
                svg_string=data.decode("utf-8-sig"),
                width=_SVG_WIDTH,
                skip_system_fonts=True,
                font_dirs=[str(_FONTS)],
                font_family="Noto Sans",
                sans_serif_family="Noto Sans",
                serif_family="Noto Sans",
                monospace_family="Noto Sans",
            )
        )
    except ValueError as error:
        raise ValueError(f"is not a sound SVG image ({error}): {path}") from None
