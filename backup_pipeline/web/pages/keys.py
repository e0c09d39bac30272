"""Keys of programs, for super admins: made, shown once, limited, revoked; and what each of them does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response

from backup_pipeline.core.access import Permission
from backup_pipeline.core.access.api_keys import DEFAULT_LIMIT, ApiKey, KeyPermission, NewKey, parse_permissions
from backup_pipeline.core.access.api_usage import LOOKED_BACK, UnusualKey, of_late, unusual_keys
from backup_pipeline.core.errors import UsageError
from backup_pipeline.operations.access.api_keys import create_key, limit_key, revoke_key
from backup_pipeline.presentation.people import key_state
from backup_pipeline.web.people import Visitor, allowed, fresh, not_there
from backup_pipeline.web.rendering import console_address, page, redirect

router = APIRouter()

_Manager = Annotated[Visitor, Depends(allowed(Permission.MANAGE_KEYS))]
_ManagerForSure = Annotated[Visitor, Depends(fresh(Permission.MANAGE_KEYS))]
_Text = Annotated[str, Form(max_length=1_000)]
_ROWS = 50
_SUMS = 150
"""Of sums by hour a page shows so many; a key alone has its own page of them."""
_PERIODS = {"day": timedelta(hours=24), "week": LOOKED_BACK}


@router.get("/keys")
def keys_page(request: Request, visitor: _Manager) -> Response:
    """Every key, those that were revoked last."""
    known = visitor.access.access.keys.list()
    now = visitor.ports.clock()
    return page(
        request,
        "keys.html",
        keys=sorted(known, key=lambda key: key.why_over(now) is not None),
        used=visitor.access.access.usage.used(),
        state={key.number: key_state(key, now) for key in known},
        unusual=_unusual(visitor, known, now),
        command="backup-pipeline key api list",
    )


def _unusual(visitor: Visitor, known: Sequence[ApiKey], now: datetime) -> Sequence[UnusualKey]:
    only = known[0].number if len(known) == 1 else None
    return unusual_keys(known, visitor.access.access.usage.habits(now - LOOKED_BACK, of_late(now), key=only), now)


@router.get("/keys/new")
def new_key_page(request: Request, visitor: _ManagerForSure) -> Response:
    """The form for a new key."""
    return _new_key_form(request)


@router.post("/keys")
def make_key(
    request: Request,
    visitor: _ManagerForSure,
    name: _Text = "",
    permission: Annotated[list[str], Form()] = [],  # noqa: B006  # FastAPI copies it
    business: _Text = "",
    limit: _Text = str(DEFAULT_LIMIT),
    expires: _Text = "",
) -> Response:
    """Make the key; this answer alone shows it."""
    try:
        until = datetime.combine(date.fromisoformat(expires), time(), UTC) if expires else None
        wanted = NewKey(name.strip(), parse_permissions(permission), business.strip() or None, int(limit), until)
        key, secret = create_key(wanted, visitor.access, visitor.actor)
    except UsageError as error:
        problem = f"{error.what} {error.do}"
    except ValueError:
        problem = "The limit wants a whole number, and the day of its end a day."
    else:
        return page(request, "key_made.html", made=key, secret=secret, console=console_address(request))
    typed = {"name": name, "permission": permission, "business": business, "limit": limit, "expires": expires}
    return _new_key_form(request, typed, problem)


def _new_key_form(request: Request, typed: Mapping[str, Any] | None = None, problem: str = "") -> Response:
    values = {"name": "", "permission": [], "business": "", "limit": str(DEFAULT_LIMIT), "expires": ""}
    return page(
        request,
        "key_new.html",
        status=422 if problem else 200,
        typed={**values, **(typed or {})},
        problem=problem,
        permissions=[(each.value, each.in_words, each.of_a_business) for each in KeyPermission],
        command="backup-pipeline key api create NAME --permission backup_status",
    )


@router.get("/keys/{number}")
def key_page(request: Request, visitor: _Manager, number: int) -> Response:
    """One key: what it may, how much of its limit it has used, and its last calls."""
    key, now = _known(visitor, number), visitor.ports.clock()
    rows, _ = visitor.access.access.usage.page(key=number, limit=_ROWS)
    return page(
        request,
        "key.html",
        key=key,
        state=key_state(key, now),
        used=visitor.access.access.usage.used().get(number, 0),
        rows=rows,
        unusual=_unusual(visitor, [key], now),
        command=f"backup-pipeline key api revoke {shlex.quote(key.name)}",
    )


@router.post("/keys/{number}/limit")
def change_limit(request: Request, visitor: _ManagerForSure, number: int, limit: _Text = "") -> Response:
    """Another limit; a console that has refused the key of late knows within ten seconds."""
    if not limit.isdecimal():
        message = "A limit is a whole number of calls."
        raise UsageError(message, do="Go back and type one.")
    key = limit_key(_known(visitor, number).number, int(limit), visitor.access, visitor.actor)
    return redirect(request, f"/keys/{number}", f"{key.name} has {key.limit:,} calls an hour.")


@router.post("/keys/{number}/revoke")
def revoke(request: Request, visitor: _ManagerForSure, number: int) -> Response:
    """End a key."""
    key = revoke_key(_known(visitor, number).number, visitor.access, visitor.actor)
    return redirect(request, f"/keys/{number}", f"{key.name} is worth nothing any more.", tone="warning")


@router.get("/usage")
def usage_page(
    request: Request,
    visitor: _Manager,
    key: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    period: Annotated[str, Query(max_length=10)] = "day",
    after: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """What programs did: by hour, key and route, then call by call."""
    usage, now = visitor.access.access.usage, visitor.ports.clock()
    known = {each.number: each for each in visitor.access.access.keys.list()}
    since = now - _PERIODS.get(period, _PERIODS["day"])
    rows, following = usage.page(key=key, since=since, after=after, limit=_ROWS)
    sums = usage.sums(since, key=key, limit=_SUMS + 1)
    return page(
        request,
        "usage.html",
        keys=known,
        chosen=key,
        period=period if period in _PERIODS else "day",
        sums=sums[:_SUMS],
        more_sums=len(sums) > _SUMS,
        rows=rows,
        following=following,
        unusual=_unusual(visitor, list(known.values()), now),
        command="backup-pipeline key api list",
        live=not after,
    )


def _known(visitor: Visitor, number: int) -> ApiKey:
    key = visitor.access.access.keys.get(number) if 0 < number < 2**63 else None
    if key is None:
        raise not_there()
    return key
