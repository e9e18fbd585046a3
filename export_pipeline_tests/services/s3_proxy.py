"""Proxies before an S3 server: one holds a request on its way until it is let through, one refuses some requests."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote

from export_pipeline_tests.services.s3 import S3Server

_OF_THE_CONNECTION = {"connection", "content-length", "expect", "transfer-encoding"}


Refusal = Callable[[str, Mapping[str, str]], tuple[int, str] | None]
"""Told a request ("PUT /bucket/key?query") and its headers; gives status and error code to answer, or None."""


class S3Proxy:
    """Passes requests on.

    Attributes:
        url: The endpoint to use instead of the server's.
    """

    def __init__(self, server: S3Server, refuse: Refusal = lambda request, headers: None) -> None:
        self._host = server.endpoint_url.removeprefix("http://")
        self._refuse = refuse
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def pass_on(self) -> None:
                self.close_connection = True
                with contextlib.suppress(ConnectionError):
                    proxy._pass_on(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Listen for as long as this is open."""
        thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        body, request = _body(handler), f"{handler.command} {unquote(handler.path)}"
        self._arrived(handler, request)
        if (refused := self._refuse(request, handler.headers)) is not None:
            status, code = refused
            error = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
            _answer(handler, status, [], error.encode() if status >= 300 else b"")
            return
        server = http.client.HTTPConnection(self._host, timeout=30)
        with contextlib.closing(server):
            server.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in _OF_THE_CONNECTION:
                    server.putheader(name, value)
            server.putheader("Content-Length", str(len(body)))
            server.endheaders(body)
            answer = server.getresponse()
            content = answer.read()
            self._answered(answer.status)
            length = answer.getheader("Content-Length") if handler.command == "HEAD" else None
            _answer(handler, answer.status, answer.getheaders(), content, length)

    def _arrived(self, handler: BaseHTTPRequestHandler, request: str) -> None:
        """Called with each request before it is passed on."""

    def _answered(self, status: int) -> None:
        """Called by the same thread when the server has answered."""


class DelayingProxy(S3Proxy):
    """Lets writes wait for a random time, also those whose client has died meanwhile.

    Attributes:
        longest: The longest wait in seconds; most are far shorter.
    """

    longest = 0.0

    def _arrived(self, handler: BaseHTTPRequestHandler, request: str) -> None:
        if not request.startswith(("GET", "HEAD")):
            time.sleep(self.longest * random.random() ** 40)


class HoldingProxy(S3Proxy):
    """Holds the first request that begins with a method and has every one of some words in it.

    Its client loses the connection at once.

    Args:
        is_deadly: Take nothing more of any client, as if it had died.

    Attributes:
        held: Set once the request is here.
    """

    def __init__(self, server: S3Server, method: str, *words: str, is_deadly: bool) -> None:
        super().__init__(server)
        self._method, self._words, self._is_deadly = method, words, is_deadly
        self.held, self._go, self._passed = threading.Event(), threading.Event(), threading.Event()
        self._choosing = threading.Lock()
        self._holder = self._status = 0

    def let_through(self) -> int:
        """Send the held request to the server, and give the status of its answer."""
        self._go.set()
        assert self._passed.wait(240)
        return self._status

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """See `S3Proxy.running`."""
        with super().running():
            try:
                yield self
            finally:
                self._go.set()

    def _arrived(self, handler: BaseHTTPRequestHandler, request: str) -> None:
        with self._choosing:
            if self.held.is_set() and self._is_deadly:
                raise ConnectionAbortedError
            fits = request.startswith(self._method) and all(word in request for word in self._words)
            if self.held.is_set() or not fits:
                return
            self._holder = threading.get_ident()
            self.held.set()
        handler.connection.shutdown(socket.SHUT_RDWR)
        self._go.wait()

    def _answered(self, status: int) -> None:
        if threading.get_ident() == self._holder and not self._passed.is_set():
            self._status = status
            self._passed.set()


def _answer(
    handler: BaseHTTPRequestHandler,
    status: int,
    headers: Iterable[tuple[str, str]],
    content: bytes,
    length: str | None = None,
) -> None:
    handler.send_response(status)
    for name, value in headers:
        if name.lower() not in _OF_THE_CONNECTION:
            handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.send_header("Content-Length", length or str(len(content)))
    handler.end_headers()
    handler.wfile.write(content if handler.command != "HEAD" else b"")


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body
