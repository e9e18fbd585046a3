"""Tokens of people, real and forged."""

import base64
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from export_pipeline.api import oidc
from export_pipeline.settings import Settings
from export_pipeline_tests.api.service import Running, serving
from export_pipeline_tests.api.test_exports import problem

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
FETCHED: list[str] = []


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """An issuer: its configuration and its keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            FETCHED.append(self.path)
            url = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            body = {"issuer": url, "jwks_uri": f"{url}/keys"}
            if self.path == "/keys":
                body = {
                    "keys": [
                        {**json.loads(RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "one", "alg": "RS256"}
                    ]
                }  # type: ignore[dict-item]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def guarded(settings: Settings, issuer: str) -> Iterator[Running]:
    """A service that accepts the issuer's tokens."""
    changed = {"oidc_issuer": issuer, "oidc_audience": "exports", "oidc_person_claim": "email"}
    with serving(settings.model_copy(update=changed)) as running:
        yield running


def claims(issuer: str, **changes: Any) -> dict[str, Any]:
    values = {
        "iss": issuer, "aud": "exports", "sub": "u1", "email": "ann@example.org", "exp": time.time() + 60,
        "export_scopes": [],
    }  # fmt: skip
    return {name: value for name, value in (values | changes).items() if value is not None}


def token(claims: Mapping[str, Any], key: Any = KEY, algorithm: str = "RS256", kid: str = "one") -> str:
    return jwt.encode(dict(claims), key, algorithm, headers={"kid": kid})


def encoded(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def get(service: Running, bearer: str, path: str = "/v1/exports") -> httpx.Response:
    return httpx.get(service.url + path, headers={"Authorization": f"Bearer {bearer}"})


def test_a_person_asks_for_their_own_scopes_under_their_own_name(
    guarded: Running, issuer: str, accounts: list[str]
) -> None:
    bearer = token(claims(issuer, export_scopes=[accounts[0]]))
    headers = {"Authorization": f"Bearer {bearer}"}
    body = {"dataset": "records", "format": "csv", "scope": accounts[0]}
    made = httpx.post(f"{guarded.url}/v1/exports", json=body, headers=headers)
    assert (made.status_code, made.json()["requested_by"]) == (202, "ann@example.org")
    foreign = httpx.post(f"{guarded.url}/v1/exports", json={**body, "scope": accounts[1]}, headers=headers)
    assert problem(foreign) == (404, "not_found")
    ben = token(claims(issuer, email="ben@example.org", export_scopes="*"))
    assert get(guarded, ben).json()["data"] == []
    assert problem(get(guarded, ben, f"/v1/exports/{made.json()['id']}")) == (404, "not_found")
    assert problem(get(guarded, bearer, "/metrics")) == (403, "forbidden")


EMBEDDED: tuple[dict[str, Any], ...] = (
    {"jwk": json.loads(RSAAlgorithm.to_jwk(OTHER.public_key()))},
    {"jku": "http://127.0.0.1:9/jwks.json"},
    {"x5u": "http://127.0.0.1:9/cert.pem"},
    {"x5c": ["AAAA"]},
)
"""Headers by which a token would bring its own key."""


@pytest.mark.slow
def test_forged_tokens_are_refused(guarded: Running, issuer: str) -> None:
    good = token(claims(issuer))
    assert get(guarded, good).status_code == 200
    header, payload, signature = good.split(".")
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    symmetric = f"{encoded({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{payload}"
    mac = base64.urlsafe_b64encode(hmac.digest(public, symmetric.encode(), "sha256")).decode().rstrip("=")
    forged = [
        jwt.encode(claims(issuer), None, "none", headers={"kid": "one"}),
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{header}.{payload[:-4]}AAAA.{signature}",
        f"{symmetric}.{mac}",
        token(claims(issuer), OTHER),
        token(claims(issuer), ec.generate_private_key(ec.SECP256R1()), "ES256"),
        token(claims(issuer), kid="two"),
        token(claims("https://evil.example.org")),
        token(claims(issuer, aud="other")),
        token(claims(issuer, aud=None)),
        token(claims(issuer, exp=None)),
        token(claims(issuer, exp=time.time() - 120)),
        token(claims(issuer, nbf=time.time() + 120)),
        token(claims(issuer, email=None)),
        token(claims(issuer, email={"a": 1})),
        token(claims(issuer, email_verified=False)),
        token(claims(issuer, email_verified="false")),
        token(claims(issuer, email="key:backend")),
        token(claims(issuer, iat=time.time() + 3600)),
        token(claims(f"{issuer}/")),
        *(
            token(claims(issuer), kid=kid)
            for kid in ("", "../../dev/null", "' OR 1=1 --", "one\0", "http://127.0.0.1:9/")
        ),
        *(
            f"{encoded({'alg': 'RS256', 'kid': 'one', **more})}.{payload}.{signature}"
            for more in ({"kid": ["one"]}, {"kid": {"a": 1}}, {"crit": ["b64"], "b64": False}, {"b64": False})
        ),
        *(jwt.encode(claims(issuer), OTHER, "RS256", headers={"kid": "one", **more}) for more in EMBEDDED),
        *(
            f"{encoded({'alg': alg, 'kid': 'one'})}.{payload}."
            for alg in ("None", "nOnE", "NONE", "", "HS256")
        ),
        f"{good}.{signature}.x",
        "a.b.c",
        "..",
        "é.é.é".encode("latin-1").decode("latin-1"),
    ]
    for one in forged:
        answer = httpx.get(
            f"{guarded.url}/v1/exports", headers={"Authorization": f"Bearer {one}".encode("latin-1")}
        )
        assert problem(answer) == (401, "unauthenticated"), one


@pytest.mark.slow
def test_unknown_keys_do_not_make_the_service_ask_the_issuer_each_time(guarded: Running, issuer: str) -> None:
    get(guarded, token(claims(issuer)))
    FETCHED.clear()
    for number in range(20):
        get(guarded, token(claims(issuer), kid=f"unknown {number}"))
    assert FETCHED == []


def test_without_an_issuer_no_token_is_accepted(service: Running, issuer: str) -> None:
    assert problem(get(service, token(claims(issuer)))) == (401, "unauthenticated")


def test_an_issuer_that_is_away_is_no_fault_of_the_token(settings: Settings) -> None:
    away = {"oidc_issuer": "http://127.0.0.1:9", "oidc_audience": "exports"}
    with serving(settings.model_copy(update=away)) as service:
        assert problem(get(service, token(claims("http://127.0.0.1:9")))) == (503, "unavailable")


@pytest.mark.slow
def test_an_issuer_that_does_not_answer_holds_up_nobody_else(
    guarded: Running, issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can send a token with an unknown key, for which the issuer is asked."""
    good, asking, go_on = token(claims(issuer)), Event(), Event()
    assert get(guarded, good).status_code == 200
    tokens = guarded.app.state.tokens

    def fetch() -> Any:
        asking.set()
        assert go_on.wait(60)
        return dict(tokens._keys)

    monkeypatch.setattr(tokens, "_fetch", fetch)
    monkeypatch.setattr(oidc, "_REFRESH_LEAST_SECONDS", 0.0)
    strangers = [
        Thread(target=get, args=(guarded, token(claims(issuer), kid=f"unknown {number}")))
        for number in range(12)
    ]
    try:
        for stranger in strangers:
            stranger.start()
        assert asking.wait(60)
        begun = time.monotonic()
        assert guarded.client().get("/v1/exports").status_code == 200
        assert tokens.caller_of(good).requested_by == "ann@example.org"
        assert time.monotonic() - begun < 30
    finally:
        go_on.set()
        for stranger in strangers:
            stranger.join(60)
