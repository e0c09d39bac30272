"""The way to the provider of identities and back."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from backup_pipeline.core.access.identities import SignInAttempt, parse_group_roles
from backup_pipeline.core.errors import RefusedError
from backup_pipeline.core.ports.access import IdentityProvider
from backup_pipeline.operations.access import SignIn
from backup_pipeline.operations.access.provider import new_attempt, sign_in_by_claims
from backup_pipeline.settings import Settings
from backup_pipeline.web.pages.login import agent_of, check_way, end_earlier
from backup_pipeline.web.people import address_of, console_access, keep_session
from backup_pipeline.web.rendering import console_address, is_over_https, local_path, redirect
from backup_pipeline.wiring.access import open_provider

router = APIRouter(prefix="/login/provider")

_COOKIE = "sign_in"
_WAY_S = 600
"""So long somebody may take to sign in at the provider."""


@router.get("")
def to_provider(request: Request, next: str = "/", again: bool = False) -> Response:  # noqa: A002, FBT001, FBT002
    """Lead to the provider; what ties the way back to this browser is sealed in a cookie of its own."""
    check_way(request)
    access = console_access(request)
    attempt = new_attempt(access)
    answer = RedirectResponse(_provider(request).address(attempt, _back(request), again=again), 303)
    until = access.clock().timestamp() + _WAY_S
    kept = {**vars(attempt), "next": local_path(next), "again": again, "until": until}
    answer.set_cookie(
        _COOKIE,
        access.sealer.seal(json.dumps(kept)),
        max_age=_WAY_S,
        path="/login/provider",
        secure=is_over_https(request),
        httponly=True,
        samesite="lax",
    )
    return answer


@router.get("/back")
def from_provider(request: Request, code: str = "", state: str = "", error: str = "", iss: str = "") -> Response:
    """Somebody comes back: signed in, if the provider vouches for who began here.

    A provider that says who it is (RFC 9207) has to be the one that was asked: another's code is not sent to it.
    """
    settings, access = _settings(request), console_access(request)
    kept = _kept(request)
    if error or not code or kept.get("state") != state or iss not in {"", settings.oidc_issuer}:
        why = f"It said {error[:100]!r}." if error else "You did not come back by the way on which you went."
        message = f"The provider of identities did not sign you in. {why}"
        raise RefusedError(message, do="Begin again on the page to sign in.")
    attempt = SignInAttempt(str(kept["state"]), str(kept["nonce"]), str(kept["verifier"]))
    claims = _provider(request).claims(code, attempt, _back(request))
    begun = sign_in_by_claims(
        claims,
        settings.oidc_claim,
        parse_group_roles(settings.oidc_roles),
        SignIn("", "", "", address_of(request), agent_of(request)),
        access,
        again=bool(kept["again"]),
    )
    end_earlier(request)
    answer = redirect(request, local_path(str(kept["next"])))
    keep_session(request, answer, begun.token)
    answer.delete_cookie(_COOKIE, path="/login/provider")
    return answer


def _kept(request: Request) -> dict[str, object]:
    """What this browser went with; nothing where it did not, not from here, or too long ago."""
    access = console_access(request)
    try:
        kept = json.loads(access.sealer.unseal(request.cookies.get(_COOKIE, "")))
    except (RefusedError, ValueError):
        return {}
    in_time = isinstance(kept, dict) and kept.get("until", 0) > access.clock().timestamp()
    return kept if in_time else {}


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _provider(request: Request) -> IdentityProvider:
    """The provider, which keeps what was asked of it for as long as the console runs."""
    state = request.app.state
    if not hasattr(state, "identity_provider"):
        state.identity_provider = open_provider(state.settings)
    provider: IdentityProvider = state.identity_provider
    return provider


def _back(request: Request) -> str:
    """The address that the provider leads back to, and has to know beforehand."""
    return f"{console_address(request)}/login/provider/back"
