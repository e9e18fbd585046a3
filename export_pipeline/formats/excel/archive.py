"""Write a ZIP archive to a stream that cannot seek, deflated by ISA-L on the way."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, BinaryIO

from isal import isal_zlib

from export_pipeline.formats.base import RenderError

Data = bytes | memoryview

LEVEL = 2
SMALL = 1 << 18  # bytes: entries up to this size are deflated at once, with their sizes in the local header
LIMIT = 0xFFFFFFFE  # 4 GB: larger needs ZIP64 records, which some spreadsheet programs reject
MAX_ENTRIES = 65_000

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_DESCRIPTOR = struct.Struct("<IIII")
_END = struct.Struct("<IHHHHIIH")
_SIZES_FOLLOW = 0x0008
_UTF8 = 0x0800
_DEFLATED = 8
_VERSION = 20
_LAST_BLOCK = b"\x03\x00"  # the last, empty block of a deflate stream


class Archive:
    """A ZIP archive on a stream; only the stream's `write` is used.

    Args:
        out: The stream.
        moment: Modification time of every entry, so that equal parts give equal bytes.

    Raises:
        RenderError: Past 4 GB, in one entry or in all, or past 65,000 entries.
    """

    def __init__(self, out: BinaryIO, moment: datetime) -> None:
        self._out = out
        self._date, self._time = _dos_moment(moment)
        self._offset = 0
        self._directory: list[bytes] = []

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._finish()

    def add(self, name: str, data: bytes) -> None:
        """Write a whole entry."""
        entry = self.entry(name)
        entry.write(data)
        entry.close()

    def entry(self, name: str) -> Entry:
        """Open an entry to write piece by piece. Close it before the next one is opened."""
        return Entry(self, name)

    def copy(self, name: str, spool: Spool) -> None:
        """Write the content of a spool as an entry."""
        start = self.begin(name, 0, spool.crc, spool.packed, spool.size)
        for chunk in spool.chunks():
            self.put(chunk)
        self.record(name, start, 0, spool.crc, spool.packed, spool.size)

    def begin(self, name: str, flags: int, crc: int, packed: int, size: int) -> int:
        """Write a local header and return its offset."""
        start = self._offset
        raw = name.encode()
        self.put(
            _LOCAL.pack(
                0x04034B50,
                _VERSION,
                flags | _UTF8,
                _DEFLATED,
                self._time,
                self._date,
                crc,
                packed,
                size,
                len(raw),
                0,
            )
            + raw
        )
        return start

    def put(self, data: bytes) -> None:
        """Write raw bytes and count them."""
        self._offset += len(data)
        check_size(self._offset)
        self._out.write(data)

    def record(self, name: str, start: int, flags: int, crc: int, packed: int, size: int) -> None:
        """Record a finished entry for the central directory."""
        if len(self._directory) >= MAX_ENTRIES:
            raise RenderError(
                f"A workbook cannot have more than {MAX_ENTRIES:,} sheets. Export fewer groups."
            )
        raw = name.encode()
        self._directory.append(
            _CENTRAL.pack(
                0x02014B50,
                _VERSION,
                _VERSION,
                flags | _UTF8,
                _DEFLATED,
                self._time,
                self._date,
                crc,
                packed,
                size,
                len(raw),
                0,
                0,
                0,
                0,
                0,
                start,
            )
            + raw
        )

    def _finish(self) -> None:
        start = self._offset
        for record in self._directory:
            self.put(record)
        count = len(self._directory)
        self.put(_END.pack(0x06054B50, 0, 0, count, count, self._offset - start, start, 0))


def compress(data: Data) -> bytes:
    """Deflate bytes on their own, for an entry joined from such pieces. Thread-safe."""
    deflater = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)
    made: bytes = deflater.compress(data) + deflater.flush(isal_zlib.Z_SYNC_FLUSH)
    return made


class Entry:
    """An entry that is buffered while small and streamed once it grows."""

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self._name = name
        self._raw: list[Data] = []
        self._raw_size = 0
        self._held: list[bytes] = []
        self._start: int | None = None
        self._crc = self._size = self._packed = 0

    def write(self, data: Data, pack: bytes | None = None) -> None:
        """Add a piece; `pack` is the result of `compress` for it, if it is known.

        A piece without `pack` may be kept and must stay unchanged until the entry is closed.
        """
        if pack is not None:
            self._pack_raw()
            self._take(data, pack)
            return
        self._raw.append(data)
        self._raw_size += len(data)
        if self._raw_size > SMALL:
            self._pack_raw()

    def close(self) -> None:
        """Finish the entry."""
        self._pack_raw()
        if self._start is None:
            size = self._packed + len(_LAST_BLOCK)
            start = self._archive.begin(self._name, 0, self._crc, size, self._size)
            self._archive.put(b"".join(self._held) + _LAST_BLOCK)
            self._archive.record(self._name, start, 0, self._crc, size, self._size)
            return
        self._put(_LAST_BLOCK)
        self._archive.put(_DESCRIPTOR.pack(0x08074B50, self._crc, self._packed, self._size))
        self._archive.record(self._name, self._start, _SIZES_FOLLOW, self._crc, self._packed, self._size)

    def _pack_raw(self) -> None:
        if self._raw:
            data = self._raw[0] if len(self._raw) == 1 else b"".join(self._raw)
            self._raw, self._raw_size = [], 0
            self._take(data, compress(data))

    def _take(self, data: Data, pack: bytes) -> None:
        self._crc = isal_zlib.crc32(data, self._crc)
        self._size += len(data)
        check_size(self._size)
        if self._start is None and self._size > SMALL:
            self._start = self._archive.begin(self._name, _SIZES_FOLLOW, 0, 0, 0)
            self._archive.put(b"".join(self._held))
        self._put(pack)

    def _put(self, pack: bytes) -> None:
        self._packed += len(pack)
        if self._start is None:
            self._held.append(pack)
        else:
            self._archive.put(pack)


class _Packer:
    """One deflate stream with its checksum and sizes."""

    def __init__(self) -> None:
        self._deflater = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)
        self.crc = 0
        self.size = 0
        self.packed = 0

    def feed(self, data: Data) -> bytes:
        self.crc = isal_zlib.crc32(data, self.crc)
        self.size += len(data)
        check_size(self.size)
        packed: bytes = self._deflater.compress(data)
        self.packed += len(packed)
        return packed

    def finish(self) -> bytes:
        packed: bytes = self._deflater.flush()
        self.packed += len(packed)
        return packed


class Spool:
    """A deflated entry made while others are written: in memory while small, then on disk."""

    def __init__(self) -> None:
        self._packer = _Packer()
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=1 << 22)  # noqa: SIM115 - close() ends it

    def write(self, data: Data) -> None:
        """Add a piece."""
        self._file.write(self._packer.feed(data))

    def finish(self) -> None:
        """Finish the entry; nothing can be written after it."""
        self._file.write(self._packer.finish())

    @property
    def crc(self) -> int:
        """CRC-32 of the bytes written so far."""
        return self._packer.crc

    @property
    def packed(self) -> int:
        """Size after deflating; final once the entry is finished."""
        return self._packer.packed

    @property
    def size(self) -> int:
        """Size before deflating."""
        return self._packer.size

    def chunks(self) -> Iterator[bytes]:
        """Yield the deflated bytes, 1 MB at a time."""
        self._file.seek(0)
        while chunk := self._file.read(1 << 20):
            yield chunk

    def close(self) -> None:
        """Release the memory or the file."""
        self._file.close()


def check_size(size: int) -> None:
    """Raise RenderError if a size exceeds the limit of ZIP without 64-bit records."""
    if size > LIMIT:
        raise RenderError(
            "The workbook would be larger than 4 GB, which spreadsheet programs cannot open. "
            "Choose the csv format or export fewer rows."
        )


def _dos_moment(moment: datetime) -> tuple[int, int]:
    at = moment.astimezone(UTC)
    year = min(max(at.year, 1980), 2107)
    return (year - 1980) << 9 | at.month << 5 | at.day, at.hour << 11 | at.minute << 5 | at.second // 2
