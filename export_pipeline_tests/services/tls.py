"""A proxy before PostgreSQL that speaks TLS with the client, and cuts its connections when told to."""

from __future__ import annotations

import contextlib
import datetime
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Cut = Literal["reset", "end", "close notify"]
"""Ends of a connection: by a reset, by an end of the stream without TLS's farewell, or with it."""


class TlsProxy:
    """Open connections of clients, each with its TLS end."""

    def __init__(self, context: ssl.SSLContext, server_port: int) -> None:
        self._context, self._server_port = context, server_port
        self._threads: list[threading.Thread] = []
        self._cut: Cut | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self, how: Cut) -> None:
        """End all connections that are open now."""
        self._cut = how
        for thread in self._threads:
            thread.join(10)
        self._threads, self._cut = [], None

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._listener.close()
        self.cut("end")

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain = self._listener.accept()[0]
                thread = threading.Thread(target=self._connect, args=(plain,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _connect(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            plain.recv(8)  # libpq's SSLRequest
            plain.sendall(b"S")
            client = self._context.wrap_socket(plain, server_side=True)
            with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
                self._copy(client, server)
                if self._cut == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif self._cut == "close notify":
                    client.setblocking(False)
                    client.unwrap()  # says farewell, and does not wait for the answer

    def _copy(self, client: ssl.SSLSocket, server: socket.socket) -> None:
        """Pass on what either side sends until one ends or the connection is cut."""
        client.settimeout(1)
        while self._cut is None:
            ready = [client] if client.pending() else select.select([client, server], [], [], 0.02)[0]
            for source in ready:
                if not (data := source.recv(16_384)):
                    return
                target = server if source is client else client
                target.sendall(data)


@contextlib.contextmanager
def tls_proxy(server_port: int, folder: Path) -> Iterator[TlsProxy]:
    """Run a proxy before a server of 127.0.0.1; its certificate is its own and lies in the folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder, "127.0.0.1"))
    proxy = TlsProxy(context, server_port)
    try:
        yield proxy
    finally:
        proxy.close()


def certificate(folder: Path, host: str) -> Path:
    """Write a certificate that signs itself, with its key, for a host's name."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    file = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file
