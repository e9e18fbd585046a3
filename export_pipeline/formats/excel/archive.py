"""A ZIP archive that is written to a stream which cannot seek, deflated by ISA-L while it is made."""

from __future__ import annotations

import struct
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import IO, BinaryIO

from isal import isal_zlib

from export_pipeline.formats.base import RenderError

Data = bytes | memoryview

LEVEL = 2
SMALL = 1 << 18  # bytes: entries up to here are deflated at once, with their sizes in the local header
LIMIT = 0xFFFFFFFE  # 4 GB: beyond it ZIP64 records are needed, which some spreadsheet programs refuse
MAX_ENTRIES = 65_000
IN_FLIGHT = 2  # chunks between the thread that makes XML and the one that deflates it

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_DESCRIPTOR = struct.Struct("<IIII")
_END = struct.Struct("<IHHHHIIH")
_SIZES_FOLLOW = 0x0008
_UTF8 = 0x0800
_DEFLATED = 8
_VERSION = 20


class Archive:
    """A ZIP archive on a stream of which only `write` is used.

    Args:
        out: The stream.
        moment: Modification time of every entry, so that the same parts give the same bytes.

    Raises:
        RenderError: Past 4 GB, in one entry or in all, or past 65,000 entries.
    """

    def __init__(self, out: BinaryIO, moment: datetime) -> None:
        self._out = out
        self._date, self._time = _dos_moment(moment)
        self._offset = 0
        self._directory: list[bytes] = []
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="deflate")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._worker.shutdown(cancel_futures=True)
        if kind is None:
            self._finish()

    def add(self, name: str, data: bytes) -> None:
        """Writes a whole entry."""
        entry = self.entry(name)
        entry.write(data)
        entry.close()

    def entry(self, name: str) -> Entry:
        """An entry to write piece by piece and to close before the next one is begun."""
        return Entry(self, name)

    def copy(self, name: str, spool: Spool) -> None:
        """Writes what a spool holds as an entry."""
        start = self.begin(name, 0, spool.crc, spool.packed, spool.size)
        for chunk in spool.chunks():
            self.put(chunk)
        self.record(name, start, 0, spool.crc, spool.packed, spool.size)

    def begin(self, name: str, flags: int, crc: int, packed: int, size: int) -> int:
        """Writes a local header; returns its offset."""
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
        """Writes bytes as they are and keeps count of them."""
        self._offset += len(data)
        check_size(self._offset)
        self._out.write(data)

    def record(self, name: str, start: int, flags: int, crc: int, packed: int, size: int) -> None:
        """Notes a finished entry for the directory at the archive's end."""
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

    def deflate(self, pack: _Packer, data: Data) -> Future[bytes]:
        """Deflates a piece beside the thread that makes the next one. Pieces are taken in order."""
        return self._worker.submit(pack.feed, data)

    def _finish(self) -> None:
        start = self._offset
        for record in self._directory:
            self.put(record)
        count = len(self._directory)
        self.put(_END.pack(0x06054B50, 0, 0, count, count, self._offset - start, start, 0))


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


class Entry:
    """An entry that is held back while it is small and streamed from then on.

    Pieces that are written must stay unchanged until the entry is closed.
    """

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self._name = name
        self._held: list[Data] = []
        self._size = 0
        self._start = 0
        self._packer: _Packer | None = None
        self._pending: deque[Future[bytes]] = deque()

    def write(self, data: Data) -> None:
        """Takes a piece."""
        self._held.append(data)
        self._size += len(data)
        if self._packer is None and self._size > SMALL:
            self._packer = _Packer()
            self._start = self._archive.begin(self._name, _SIZES_FOLLOW, 0, 0, 0)
        if self._packer is not None and self._size > SMALL:
            self._send(self._packer)

    def _send(self, packer: _Packer) -> None:
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held, self._size = [], 0
        self._pending.append(self._archive.deflate(packer, data))
        if len(self._pending) > IN_FLIGHT:
            self._archive.put(self._pending.popleft().result())

    def close(self) -> None:
        """Ends the entry."""
        if self._packer is None:
            self._close_small(b"".join(self._held))
            return
        self._send(self._packer)
        while self._pending:
            self._archive.put(self._pending.popleft().result())
        packer = self._packer
        self._archive.put(packer.finish())
        self._archive.put(_DESCRIPTOR.pack(0x08074B50, packer.crc, packer.packed, packer.size))
        self._archive.record(self._name, self._start, _SIZES_FOLLOW, packer.crc, packer.packed, packer.size)

    def _close_small(self, data: bytes) -> None:
        packed: bytes = isal_zlib.compress(data, LEVEL, -15)
        crc = isal_zlib.crc32(data)
        start = self._archive.begin(self._name, 0, crc, len(packed), len(data))
        self._archive.put(packed)
        self._archive.record(self._name, start, 0, crc, len(packed), len(data))


class Spool:
    """A deflated entry that is made while others are written: in memory while small, then on disk."""

    def __init__(self) -> None:
        self._packer = _Packer()
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=1 << 22)  # noqa: SIM115 - close() ends it

    def write(self, data: Data) -> None:
        """Takes a piece."""
        self._file.write(self._packer.feed(data))

    def finish(self) -> None:
        """Ends the entry; nothing can be written after it."""
        self._file.write(self._packer.finish())

    @property
    def crc(self) -> int:
        return self._packer.crc

    @property
    def packed(self) -> int:
        return self._packer.packed

    @property
    def size(self) -> int:
        return self._packer.size

    def chunks(self) -> Iterator[bytes]:
        """The deflated bytes, 1 MB at a time."""
        self._file.seek(0)
        while chunk := self._file.read(1 << 20):
            yield chunk

    def close(self) -> None:
        """Gives the memory or the file back."""
        self._file.close()


def check_size(size: int) -> None:
    """Raises RenderError where a ZIP archive without 64-bit records ends."""
    if size > LIMIT:
        raise RenderError(
            "The workbook would be larger than 4 GB, which spreadsheet programs cannot open. "
            "Choose the csv format or export fewer rows."
        )


def _dos_moment(moment: datetime) -> tuple[int, int]:
    at = moment.astimezone(UTC)
    year = min(max(at.year, 1980), 2107)
    return (year - 1980) << 9 | at.month << 5 | at.day, at.hour << 11 | at.minute << 5 | at.second // 2
