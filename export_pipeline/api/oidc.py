"""Tokens of people: JSON Web Tokens of an OpenID Connect issuer."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from export_pipeline.api.authentication import Caller
from export_pipeline.api.problems import Problem
from export_pipeline.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Signatures with a private key of the issuer; never `none`, never one with a shared secret."""

_LEEWAY_SECONDS = 30
_FETCH_SECONDS = 5.0
_KEPT_SECONDS = 600.0
_REFRESH_LEAST_SECONDS = 30.0
"""Tokens with unknown keys make the service fetch the issuer's keys again at most this often."""


class TokenVerifier:
    """Checks tokens of the issuer that the settings name.

    Args:
        settings: With an issuer and an audience.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer is not None
        self._settings = settings
        self._issuer: str = settings.oidc_issuer
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = threading.Lock()

    def caller_of(self, token: str) -> Caller | None:
        """Return the caller of a token, or None if it is not valid.

        Raises:
            Problem: the issuer cannot be asked for its keys.
        """
        try:
            header = jwt.get_unverified_header(token)
            key = self._key(str(header.get("kid", "")))
            if key is None or header.get("alg") not in ALGORITHMS:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[str(header["alg"])],
                audience=self._settings.oidc_audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return self._caller(claims)

    def _caller(self, claims: Mapping[str, Any]) -> Caller | None:
        name = self._settings.oidc_person_claim
        person = claims.get(name)
        if not isinstance(person, str) or not 0 < len(person) <= 500:
            return None
        if name == "email" and claims.get("email_verified", True) is not True:
            return None
        if person.startswith("key:"):  # would be taken for a service
            return None
        return Caller(
            id=f"person:{person}",
            requested_by=person,
            rights=frozenset(self._settings.oidc_rights),
            scopes=_scopes(claims.get(self._settings.oidc_scopes_claim)),
            datasets=None,
            sees_only_own=True,
        )

    def _key(self, key_id: str) -> jwt.PyJWK | None:
        """Return the issuer's key of this id. Keys that are old, or lack the id, are fetched again."""
        if time.monotonic() - self._fetched_at <= _KEPT_SECONDS and key_id in self._keys:
            return self._keys[key_id]  # without the lock, which whoever asks the issuer may hold for seconds
        with self._lock:
            age = time.monotonic() - self._fetched_at
            if age > _KEPT_SECONDS or (key_id not in self._keys and age > _REFRESH_LEAST_SECONDS):
                try:
                    self._keys = self._fetch()
                except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
                    if key_id not in self._keys:
                        message = "The keys of the token issuer cannot be fetched; try again in a moment."
                        raise Problem(503, "unavailable", message, headers={"Retry-After": "5"}) from error
                self._fetched_at = time.monotonic()
            return self._keys.get(key_id)

    def _fetch(self) -> Mapping[str, jwt.PyJWK]:
        url = self._settings.oidc_jwks_url
        if url is None:
            configuration = _get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if configuration["issuer"] != self._issuer:
                raise ValueError("another issuer answers")
            url = str(configuration["jwks_uri"])
        keys = jwt.PyJWKSet.from_dict(_get(url)).keys
        return {key.key_id or "": key for key in keys}


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=_FETCH_SECONDS) as answer:
        document: dict[str, Any] = json.loads(answer.read(1 << 20))
    return document


def _scopes(claim: object) -> Sequence[str | None] | None:
    """Return the scopes of a claim: a list, or one text; `*` for all. Without the claim there are none."""
    values = [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return None if "*" in values else tuple(value for value in values if isinstance(value, str))
