"""A webhook's URL is a stranger's: it reaches nothing in our network, and costs a bounded time."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.delivery.webhooks import send as sending
from export_pipeline.delivery.webhooks.addresses import (
    AddressRules,
    WebhookAddressError,
    checked_addresses,
    parse_url,
    resolve,
)
from export_pipeline.delivery.webhooks.endpoints import create_webhook, find_webhooks
from export_pipeline.delivery.webhooks.send import TryError
from export_pipeline_tests.delivery.webhook_calls import local, settings_of
from export_pipeline_tests.delivery.webhook_receiver import Receiver, raw_server, webhook_receiver
from export_pipeline_tests.services.tls import certificate

PUBLIC = settings_of(webhook_networks="", webhook_http=True)
STRICT = AddressRules()
INSIDE = [
    "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "255.255.255.255", "224.0.0.1", "240.0.0.1", "192.0.2.1", "198.18.0.1",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1",
    "192.0.0.8", "192.88.99.1", "2001:20::1", "3fff::1", "5f00::1",
]  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as receiver:
        yield receiver


def post(url: str, resolve: Any = local, settings: Any = None) -> int:
    settings = settings or settings_of()
    return asyncio.run(
        sending._post(settings, url, "id", b"{}", ["whsec_c2VjcmV0"], datetime.now(UTC), resolve)
    )


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_inside_is_allowed(address: str) -> None:
    assert not STRICT.is_allowed(address)
    with pytest.raises(WebhookAddressError, match="has no public address"):
        checked_addresses(
            parse_url("https://h.example/", STRICT), STRICT, lambda *_: ["93.184.215.14", address]
        )


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f::1", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert STRICT.is_allowed(address)


def test_a_network_of_ones_own_opens_nothing_else() -> None:
    rules = AddressRules([ipaddress.ip_network("10.1.0.0/16")])
    assert rules.is_allowed("10.1.2.3")
    assert rules.is_allowed("::ffff:10.1.2.3")
    for address in ("10.2.0.1", "169.254.169.254", "127.0.0.1", "::1"):
        assert not rules.is_allowed(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", "localhost", "[::1]", "[::ffff:7f00:1]",
     "[::ffff:127.0.0.1]", "127.0.0.1.", "0", "①②⑦.0.0.1", "localhost."],
)  # fmt: skip
def test_no_way_to_write_this_machine_reaches_it(host: str, receiver: Receiver, engine: sa.Engine) -> None:
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    url = f"http://{host}:{port}/hooks"
    with pytest.raises(WebhookAddressError):
        create_webhook(engine, PUBLIC, url)
    with pytest.raises(TryError):
        post(url, resolve, PUBLIC)
    assert find_webhooks(engine) == []
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://h.example/", "EXPORT_WEBHOOK_HTTP allows"),
        ("ftp://h.example/", "begins with https://"),
        ("file:///etc/passwd", "begins with https://"),
        ("gopher://127.0.0.1:25/", "begins with https://"),
        ("//h.example/", "begins with https://"),
        ("https:///path", "begins with https://"),
        ("https://user:secret@h.example/", "no user and no password"),
        ("https://h.example@127.0.0.1/", "no user and no password"),
        ("https://h.example/#x", "no fragment"),
        ("https://h.example/\r\nx: y", "cannot be read"),
        ("https://h.example:99999/", "port"),
        ("https://h.example:0/", "port"),
        ("https://[::1/", "cannot be read"),
        ("https://h.example/" + "x" * 2000, "at most 2,000"),
    ],
)
def test_odd_urls_are_refused(url: str, why: str) -> None:
    with pytest.raises(WebhookAddressError, match=why) as refused:
        parse_url(url, STRICT)
    assert "secret" not in str(refused.value)


def test_a_name_that_changes_its_address_is_refused_at_the_delivery(receiver: Receiver) -> None:
    """DNS rebinding: public when it was registered, inside afterwards."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])

    def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    rules = AddressRules(http=True)
    assert checked_addresses(parse_url(receiver.url, rules), rules, rebinding) == ["93.184.215.14"]
    with pytest.raises(TryError, match="has no public address"):
        post(receiver.url, rebinding, PUBLIC)
    assert receiver.connections == 0


def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks the DNS a second time: it could answer otherwise."""
    asked: list[object] = []
    original = socket.getaddrinfo

    def recording(host: Any, *rest: Any, **named: Any) -> Any:
        asked.append(host)
        return original(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", recording)
    assert post(receiver.url) == 204
    assert {str(host) for host in asked} <= {"127.0.0.1"}
    assert receiver.posts[0].headers["host"].startswith("receiver.example:")


def test_an_ipv6_address_and_the_next_one_where_the_first_is_dead(receiver: Receiver) -> None:
    assert post(receiver.url, lambda *_: ["127.0.0.9", "127.0.0.1"]) == 204
    with webhook_receiver(host="::1") as six:
        assert post(six.url, lambda *_: ["::1"]) == 204


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    with webhook_receiver() as inside:
        for status in (301, 302, 303, 307, 308):
            receiver.answer = lambda post, status=status: (status, {"location": inside.url})  # type: ignore[misc]
            with pytest.raises(TryError, match=f"answered {status}; redirects are not followed"):
                post(receiver.url)
        assert inside.connections == 0


def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook_receiver() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url.replace("receiver.example", "127.0.0.1"))
        assert post(receiver.url) == 204
        assert proxy.connections == 0


@pytest.mark.parametrize("manner", ["silent", "drip", "endless head", "no reading", "slow name"])
def test_a_slow_receiver_costs_a_bounded_time(manner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TRY_SECONDS", 0.6)

    def talk(connection: socket.socket) -> None:
        begun = time.monotonic()
        if manner == "silent":
            connection.recv(1_000_000)
            connection.recv(1)
        while time.monotonic() < begun + 5:
            if manner == "drip":
                for sign in "HTTP/1.1 200 OK\r\nx: " + "y" * 1000:
                    connection.sendall(sign.encode())
                    time.sleep(0.05)
            elif manner == "endless head":
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100)
            else:
                time.sleep(0.05)

    def slow(host: str, port: int) -> list[str]:
        if manner == "slow name":
            time.sleep(1)
        return ["127.0.0.1"]

    with raw_server(talk) as port:
        begun = time.monotonic()
        with pytest.raises(TryError, match="No answer"):
            post(f"http://receiver.example:{port}/", slow)
        assert time.monotonic() - begun < 30


def test_the_body_of_an_answer_is_not_read() -> None:
    sent = []

    def talk(connection: socket.socket) -> None:
        connection.recv(1_000_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n")
        while True:
            sent.append(connection.send(b"x" * 1_000_000))

    with raw_server(talk) as port:
        assert post(f"http://receiver.example:{port}/") == 200
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize(
    "answer", [b"", b"\x00" * 1000, b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 999999 X\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad\x00: y\r\n\r\n"]
)  # fmt: skip
def test_an_answer_that_is_not_http_is_a_failed_try(answer: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1_000_000)
        connection.sendall(answer)

    with raw_server(talk) as port, pytest.raises(TryError, match="No answer"):
        post(f"http://receiver.example:{port}/")


def test_the_certificate_must_be_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path, "receiver.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with webhook_receiver(context) as receiver:
        with pytest.raises(TryError, match="certificate"):  # of an unknown authority
            post(receiver.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert post(receiver.url) == 204
        with pytest.raises(TryError, match=r"[Hh]ostname mismatch"):
            post(receiver.url.replace("receiver.example", "other.example"))
        with pytest.raises(TryError, match="certificate"):
            post(receiver.url.replace("receiver.example", "127.0.0.1"))
        assert len(receiver.posts) == 1
