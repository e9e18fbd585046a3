"""Read the parts of a workbook, inflated piece by piece."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from isal import igzip_lib, isal_zlib

from export_pipeline.core.streams import prefetch

_CHUNK = 1 << 21
_READ = 1 << 19
_LONG = 8 << 20  # bytes: longer parts are inflated ahead by another thread
_LOCAL_HEADER = 30


def chunks(path: Path, archive: ZipFile, part: str) -> Iterator[bytes]:
    """Yield the part's bytes, at most 2 MB at a time.

    Raises:
        KeyError: There is no such part.
        BadZipFile: The part is damaged.
    """
    info = archive.getinfo(part)
    if info.compress_type != ZIP_DEFLATED or info.flag_bits & 1:
        raise BadZipFile(f"{part} is packed in a way that spreadsheet programs do not read")
    inflated = _inflated(path, info.header_offset, info.compress_size, info.CRC)
    return prefetch(inflated) if info.file_size >= _LONG else inflated


def _inflated(path: Path, offset: int, packed: int, crc: int) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj(-15)
    size = 0
    with path.open("rb") as file:
        file.seek(offset)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER:
            raise BadZipFile("a part is cut off")
        file.seek(sum(struct.unpack_from("<HH", header, 26)), 1)
        pending = b""
        while not inflater.eof:
            if not pending:
                pending = file.read(min(packed, _READ))
                packed -= len(pending)
                if not pending:
                    raise BadZipFile("a part is cut off")
            try:
                chunk = inflater.decompress(pending, _CHUNK)
            except igzip_lib.IsalError as error:  # type: ignore[misc]
                raise BadZipFile(str(error)) from error
            pending = inflater.unconsumed_tail
            size = isal_zlib.crc32(chunk, size)
            yield chunk
    if size != crc:
        raise BadZipFile("a part's checksum is wrong")
