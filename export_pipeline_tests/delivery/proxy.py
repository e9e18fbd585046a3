"""A connection to a mail server that is lost in the middle."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


@contextlib.contextmanager
def cutting(url: str, *, after_bytes: int) -> Iterator[str]:
    """A URL that leads to the server of `url`; after so many bytes of the sender each connection is cut."""
    target = urlsplit(url)
    assert target.hostname is not None
    assert target.port is not None
    server = target.hostname, target.port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # What lies in buffers counts as sent; so they must not hold the whole.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        threading.Thread(target=_serve, args=(listener, server, after_bytes), daemon=True).start()
        yield f"smtp://127.0.0.1:{listener.getsockname()[1]}"


def _serve(listener: socket.socket, server: tuple[str, int], after_bytes: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            ours = listener.accept()[0]
            theirs = socket.create_connection(server)
            threading.Thread(target=_copy, args=(theirs, ours, None), daemon=True).start()
            threading.Thread(target=_copy, args=(ours, theirs, after_bytes), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, left: int | None) -> None:
    with contextlib.suppress(OSError):
        while (data := source.recv(65_536)) and (left is None or left > 0):
            target.sendall(data if left is None else data[:left])
            left = None if left is None else left - len(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
