import ipaddress
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from export_pipeline.delivery import smtp
from export_pipeline.delivery.addresses import parse_address
from export_pipeline.delivery.messages import add_recipient
from export_pipeline.delivery.smtp import (
    AnswerLostError,
    Connection,
    RejectedError,
    ServerError,
    TemporaryError,
    parse_smtp_url,
)
from export_pipeline_tests.delivery.mail_server import MailServer, mail_server

_ANN = parse_address("ann@example.org")
_MAIL = b"From: a@example.org\r\nSubject: x\r\n\r\n.\r\n..\r\n.x\r\nend"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the certificate of 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    encodings = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(*encodings)
    )
    return path


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[MailServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with mail_server(password="secret", tls=context) as server:
        yield server


def send(url: str, to: str = "ann@example.org", mail: bytes = _MAIL) -> str:
    with Connection(parse_smtp_url(url), _ANN) as connection:
        return connection.send(parse_address(to), mail, before_end=lambda: None)


def test_lines_of_dots_come_through(server: MailServer) -> None:
    assert send(server.url) == "250 taken"
    assert server.raw[0].endswith(b"\r\n\r\n.\r\n..\r\n.x\r\nend\r\n")


def test_encrypted_where_the_server_offers_it(
    tls_server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ServerError, match=r"cannot be trusted .*SSL_CERT_FILE") as caught:
        send(tls_server.url)
    assert "secret" not in str(caught.value)
    assert tls_server.mails == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(tls_server.url) == "250 taken"
    assert send(f"{tls_server.url}?starttls=required") == "250 taken"


def test_a_mail_that_must_be_encrypted_is_never_sent_in_clear(
    server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ServerError, match="offers no STARTTLS, which EXPORT_SMTP_URL requires"):
        send(f"{server.url}?starttls=required")
    monkeypatch.setattr(smtp, "_LOCAL_HOSTS", ())
    with mail_server(password="secret") as other:
        with pytest.raises(ServerError, match="a password is not sent readable by all"):
            send(other.url)
        assert send(f"{other.url}?starttls=never") == "250 taken"


def test_a_server_that_does_not_answer_is_reported() -> None:
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1 does not answer"):
        send("smtp://127.0.0.1:1")
    with pytest.raises(ServerError, match="does not answer"):
        send("smtps://no-such-host.invalid")


def test_names_beyond_ascii(server: MailServer) -> None:
    person = parse_address("Jörg <jörg@bücher.example>")
    mail = add_recipient(_MAIL, person, "<1@example.org>")
    assert send(server.url, "jörg@bücher.example", mail) == "250 taken"
    assert server.mails[0][0] == "jörg@xn--bcher-kva.example"
    assert "To: Jörg <jörg@xn--bcher-kva.example>\r\n".encode() in server.raw[0]


def test_a_mail_stopped_before_its_end_is_not_sent(server: MailServer) -> None:
    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    with Connection(parse_smtp_url(server.url), _ANN) as connection:
        with pytest.raises(StopError):
            connection.send(_ANN, _MAIL, before_end=stop)
        assert server.mails == []
        assert connection.send(_ANN, _MAIL, before_end=lambda: None) == "250 taken"
    assert len(server.mails) == 1


def test_a_server_that_hangs_up_after_each_mail(server: MailServer) -> None:
    server.hangs_up = True
    with Connection(parse_smtp_url(server.url), _ANN) as connection:
        for _ in range(3):
            assert connection.max_bytes() == 33_554_432
            assert connection.send(_ANN, _MAIL, before_end=lambda: None) == "250 taken"
            time.sleep(0.1)
    assert (len(server.mails), server.connections) == (3, 3)


def test_an_answer_that_does_not_come_is_not_taken_for_a_no(server: MailServer) -> None:
    server.holding.clear()
    with (
        Connection(parse_smtp_url(server.url), _ANN, answer_seconds=0.2) as connection,
        pytest.raises(AnswerLostError, match="had the whole mail when the connection was lost"),
    ):
        connection.send(_ANN, _MAIL, before_end=lambda: None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("451 4.3.0 later", TemporaryError),
        ("421 4.3.2 going down", TemporaryError),
        ("550 5.7.1 spam", RejectedError),
        ("552 5.3.4 too big", smtp.TooLargeError),
        ("354 what?", AnswerLostError),
    ],
)
def test_answers_to_a_whole_mail(server: MailServer, answer: str, error: type[Exception]) -> None:
    server.on_mail = lambda address: answer
    with Connection(parse_smtp_url(server.url), _ANN) as connection:
        with pytest.raises(error, match=answer[:3]):
            connection.send(_ANN, _MAIL, before_end=lambda: None)
        server.on_mail = lambda address: None
        assert connection.send(_ANN, _MAIL, before_end=lambda: None) == "250 taken"
