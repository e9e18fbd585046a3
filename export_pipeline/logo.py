"""The logo of a deployment's files, checked when settings are loaded."""

from __future__ import annotations

import re
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

_MAX_BYTES = 2_000_000
_MAX_PIXELS = 16_000_000
_FONTS = Path(__file__).parent / "formats" / "pdf" / "fonts"
_SVG_WIDTH = 1_200
"""Pixels across that an SVG is drawn with: enough for print."""
_SVG_RATIO, _SVG_LARGEST = 20, 1_000_000
"""Most times that an SVG is wider than high, or higher than wide; and its largest side in pixels."""
_LENGTH = re.compile(r"\s*([+]?(?:\d++\.?\d*+|\.\d++)(?:[eE][-+]?\d{1,3})?)(px|pt|pc|in|cm|mm|)\s*")
_PIXELS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "pc": 16.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4}


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
    if size > _MAX_BYTES:
        raise ValueError(f"has {size:,} bytes, at most {_MAX_BYTES:,} are allowed: {path}")
    data = path.read_bytes()
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        data = _draw_svg(data, path)
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > _MAX_PIXELS:
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
        text = data.decode("utf-8-sig")
        _check_svg(ElementTree.fromstring(text))
        # Without fonts of the machine a logo looks the same everywhere.
        return bytes(
            svg_to_bytes(
                svg_string=text,
                width=_SVG_WIDTH,
                dpi=96,  # by default 0, which gives lengths in mm or in no size
                skip_system_fonts=True,
                font_dirs=[str(_FONTS)],
                font_family="Noto Sans",
                sans_serif_family="Noto Sans",
                serif_family="Noto Sans",
                monospace_family="Noto Sans",
            )
        )
    except (ValueError, ElementTree.ParseError) as error:
        raise ValueError(f"is not a sound SVG image ({error}): {path}") from None


def _check_svg(root: ElementTree.Element) -> None:
    """Raise ValueError if an image would take much memory, or would show another file."""
    box = [float(number) for number in re.split(r"[\s,]+", root.get("viewBox", "").strip()) if number]
    width, height = (
        _length(root.get(name, "100%"), box[place] if len(box) == 4 else None)
        for name, place in (("width", 2), ("height", 3))
    )
    if not (0 < min(width, height) <= max(width, height) <= _SVG_LARGEST):
        raise ValueError(f"its size is {width:g} x {height:g} pixels; at most {_SVG_LARGEST:,} are allowed")
    if max(width, height) > _SVG_RATIO * min(width, height):
        raise ValueError(f"one side is more than {_SVG_RATIO} times as long as the other")
    for element in root.iter():
        for name, target in element.items():
            if name.rpartition("}")[2] == "href" and not target.strip().startswith(("data:", "#")):
                raise ValueError(f"it refers to {target[:100]!r}; embed what it shows as data:")


def _length(text: str, whole: float | None) -> float:
    """Return a length in pixels; without one of its own, an image is as large as its viewBox."""
    if match := _LENGTH.fullmatch(text):
        return float(match[1]) * _PIXELS[match[2]]
    if whole is None:
        raise ValueError("it has no viewBox, nor a width and height, e.g. in px")
    return whole
