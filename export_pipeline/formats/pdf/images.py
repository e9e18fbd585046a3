"""Images as objects of a PDF."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image as Raster
from PIL import ImageOps, UnidentifiedImageError

from export_pipeline.formats.pdf.objects import PdfFile

_ENTRIES = b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/%b/BitsPerComponent 8"

_MAX_PIXELS = 40_000_000
"""Most pixels that are decoded: 160 MB of memory."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a file: its object number, width and height in pixels."""

    number: int
    width: int
    height: int


def embed_image(pdf: PdfFile, data: bytes, most: int) -> Image:
    """Write the pixels of a PNG or JPEG file, at most `most` wide and high. JPEG stays as it is if it may.

    Raises:
        OSError, ValueError: It cannot be decoded, or has too many pixels.
    """
    try:
        # Other formats run other programs: Ghostscript would draw an EPS file.
        opened = Raster.open(BytesIO(data), formats=("PNG", "JPEG"))
    except UnidentifiedImageError:
        raise ValueError("it is no PNG or JPEG image") from None
    except Raster.DecompressionBombError:
        raise ValueError("it has too many pixels") from None
    with opened:
        if opened.format == "PNG" or opened.info.get("progressive"):
            _check_size(opened)  # such images are decoded whole, whatever size is requested
        upright = opened.getexif().get(0x0112, 1) == 1
        if opened.format != "PNG":  # MPO too: a JPEG of a camera, with a second picture behind the first
            as_it_is = opened.format == "JPEG" and opened.mode in ("RGB", "L")
            if not (as_it_is and upright and max(opened.size) <= most):
                return embed_image(pdf, _as_jpeg(opened, most), most)
            opened.load()
            space = b"DeviceRGB" if opened.mode == "RGB" else b"DeviceGray"
            entries = (_ENTRIES + b"/Filter/DCTDecode") % (*opened.size, space)
            number = pdf.put(b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, len(data), data))
            return Image(number, *opened.size)
        raster = ImageOps.exif_transpose(opened)
        if raster.mode.startswith("I"):  # 16 bits; Pillow would cut off what is above 255
            raster = raster.convert("I").point(lambda gray: gray / 256).convert("L")
        raster.thumbnail((most, most))
        is_gray = raster.mode in ("1", "L", "LA")
        mask = b""
        if raster.has_transparency_data:
            alpha = raster.convert("RGBA").getchannel("A")
            mask = b"/SMask %d 0 R" % _put_pixels(pdf, alpha, b"DeviceGray")
        pixels = raster.convert("L" if is_gray else "RGB")
        number = _put_pixels(pdf, pixels, b"DeviceGray" if is_gray else b"DeviceRGB", mask)
        return Image(number, *pixels.size)


def _check_size(opened: Raster.Image) -> None:
    if opened.width * opened.height > _MAX_PIXELS:
        raise ValueError(f"it has {opened.width:,} x {opened.height:,} pixels, more than {_MAX_PIXELS:,}")


def _as_jpeg(opened: Raster.Image, most: int) -> bytes:
    """Return a JPEG upright, in colours or grays, and small enough."""
    opened.draft("L" if opened.mode == "L" else "RGB", (most, most))
    _check_size(opened)
    raster = ImageOps.exif_transpose(opened).convert("L" if opened.mode == "L" else "RGB")
    raster.thumbnail((most, most))
    out = BytesIO()
    raster.save(out, "JPEG", quality=85)
    return out.getvalue()


def _put_pixels(pdf: PdfFile, raster: Raster.Image, space: bytes, entries: bytes = b"") -> int:
    return pdf.stream(raster.tobytes(), _ENTRIES % (*raster.size, space) + entries)
