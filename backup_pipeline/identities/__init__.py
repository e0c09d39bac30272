"""A provider of identities, asked by OpenID Connect: code flow with PKCE, and an identity token that is checked.

What the provider says is believed only when it is signed with one of its own keys, for this console, for this very
sign-in and not long ago. Algorithms that need no key of the provider (`none`, a shared secret) count for nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from backup_pipeline.core.access.identities import Claims, SignInAttempt
from backup_pipeline.core.errors import RefusedError, SettingsError, in_our_words
from backup_pipeline.lazy import lazily

with lazily():
    from authlib.oauth2 import rfc7636
    from authlib.oidc import core as oidc
    from joserfc import errors as jose_errors
    from joserfc import jwk, jwt

_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
_LEEWAY_S = 60
_KEPT_S = 600.0
_TIMEOUT_S = 10.0
_BEST_CASE = "Try again; if it repeats, look at the provider's log, and check BACKUP_OIDC_ISSUER and _CLIENT_ID."


@dataclass(frozen=True)
class Client:
    """What the provider knows the console as."""

    issuer: str
    client_id: str
    secret: str = ""


@dataclass
class OidcProvider:
    """The port `IdentityProvider`; safe from any thread. What it publishes about itself is asked every ten minutes."""

    client: Client
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _documents: dict[str, tuple[float, Mapping[str, Any]]] = field(default_factory=dict, init=False)

    def address(self, attempt: SignInAttempt, redirect: str, *, again: bool = False) -> str:
        """Where the browser goes to sign in; `again`: also who has signed in there already types the password."""
        query = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": redirect,
            "scope": "openid profile email",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": rfc7636.create_s256_code_challenge(attempt.verifier),
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if again else {}),
        }
        endpoint = self._endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def claims(self, code: str, attempt: SignInAttempt, redirect: str) -> Claims:
        """Who signed in. RefusedError when the provider does not vouch for anybody, or what it says does not hold."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": attempt.verifier,
            "client_id": self.client.client_id,
        }
        answer = self._request("POST", self._endpoint("token_endpoint"), data=form, auth=self._auth())
        token = answer.get("id_token")
        if not isinstance(token, str):
            message = "The provider of identities gave no identity token."
            raise _refused(message)
        return self._checked(token, attempt, answer.get("access_token"))

    def _checked(self, token: str, attempt: SignInAttempt, access_token: object) -> Claims:
        try:
            decoded = self._decoded(token)
            params = {"nonce": attempt.nonce, "client_id": self.client.client_id, "access_token": access_token}
            options = {
                "iss": {"essential": True, "value": self.client.issuer},
                "aud": {"essential": True, "value": self.client.client_id},
            }
            claims = oidc.CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(now=int(time.time()), leeway=_LEEWAY_S)
        except (jose_errors.JoseError, ValueError, TypeError, KeyError) as error:
            message = f"What the provider of identities said does not hold: {in_our_words(error)}."
            raise _refused(message) from error
        auth_time = claims.get("auth_time")
        at = datetime.fromtimestamp(auth_time, UTC) if isinstance(auth_time, int | float) else None
        return Claims(f"{claims['iss']}|{claims['sub']}", dict(claims), at)

    def _decoded(self, token: str) -> jwt.Token:
        """The token, its signature checked; a key that is new is asked for once."""
        try:
            return jwt.decode(token, self._keys(), algorithms=_ALGORITHMS)
        except (jose_errors.InvalidKeyIdError, jose_errors.BadSignatureError, ValueError):
            return jwt.decode(token, self._keys(anew=True), algorithms=_ALGORITHMS)

    def _keys(self, *, anew: bool = False) -> jwk.KeySet:
        return jwk.KeySet.import_key_set(dict(self._document(self._endpoint("jwks_uri"), anew=anew)))  # type: ignore[arg-type]

    def _auth(self) -> tuple[str, str] | None:
        return (self.client.client_id, self.client.secret) if self.client.secret else None

    def _endpoint(self, name: str) -> str:
        """One of the addresses that the provider publishes; SettingsError unless they are those of the issuer."""
        document = self._document(f"{self.client.issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self.client.issuer:
            message = f"The provider calls itself {document.get('issuer')!r}, and BACKUP_OIDC_ISSUER is another."
            raise SettingsError(message, do="Set BACKUP_OIDC_ISSUER to what the provider calls itself, to the letter.")
        address = document.get(name)
        if not isinstance(address, str):
            message = f"The provider of identities publishes no {name}."
            raise SettingsError(message, do="Check BACKUP_OIDC_ISSUER.")
        return checked_address(address)

    def _document(self, address: str, *, anew: bool = False) -> Mapping[str, Any]:
        with self._lock:
            kept = self._documents.get(address)
        if kept is not None and not anew and time.monotonic() - kept[0] < _KEPT_S:
            return kept[1]
        document = self._request("GET", checked_address(address))
        with self._lock:
            self._documents[address] = (time.monotonic(), document)
        return document

    def _request(self, method: str, address: str, **more: Any) -> Mapping[str, Any]:
        try:
            with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client:
                answer = client.request(method, address, headers={"Accept": "application/json"}, **more)
            answer.raise_for_status()
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            message = f"The provider of identities at {urlsplit(address).netloc} did not answer as it should: {error}"
            raise _refused(message) from error
        if not isinstance(document, dict):
            message = f"The provider of identities at {urlsplit(address).netloc} did not answer with a JSON object."
            raise _refused(message)
        return document


def checked_address(address: str) -> str:
    """`address`, where nobody on the way can read or change what is asked there; else SettingsError."""
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return address
    message = f"The provider of identities is asked over https only, not at {address[:200]}."
    raise SettingsError(message, do="Correct BACKUP_OIDC_ISSUER.")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(message: str) -> RefusedError:
    return RefusedError(message, do=_BEST_CASE)
