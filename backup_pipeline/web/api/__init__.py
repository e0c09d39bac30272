"""The API for programs: who calls, what a route takes, and a request that comes twice.

    router = api_router("Analytics")

    @router.get("/api/v1/analytics", **takes(KeyPermission.ANALYTICS))
    def analytics(caller: CallerOf) -> Analytics: ...

Before a route is asked, its key is looked up, counted, and compared with what the route takes. Cookies count for
nothing here, and a key counts for nothing on a page. What the handler reads and writes goes through `caller.ledger`,
whose rights are those of the key on that route. Errors are those of `core.errors`; `web/answers.py` makes problems of
them (RFC 9457). A POST that brings an `Idempotency-Key` is performed once: whoever repeats it gets the same answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from backup_pipeline.core.access import Role
from backup_pipeline.core.access.api_keys import Admission, ApiKey, Call, KeyPermission, check_key_may, is_key
from backup_pipeline.core.access.sessions import KeyRights, PersonIdentity, digest
from backup_pipeline.core.errors import LockedError, NotFoundError, RefusedError, UsageError
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.access import AccessPorts
from backup_pipeline.settings import Settings
from backup_pipeline.web.answers import AnswerError
from backup_pipeline.web.api.calls import CallMeter, check_room
from backup_pipeline.web.people import LaterAlerter, address_of, console_access, request_id_of
from backup_pipeline.web.rendering import console_address
from backup_pipeline.wiring.access import access_ports, is_secure_way

PERMISSIONS = "x-permissions"
"""Of an operation in the OpenAPI document: the permissions of which a key needs one."""
BEARER = {"ApiKey": {"type": "http", "scheme": "bearer", "description": "A key: `sk_` and 32 characters."}}
REPLAYED = "idempotency-replayed"


@dataclass(frozen=True)
class Caller:
    """A program that calls. `ledger`, and that of `ports`, is the key's on this route; `permission` let it in."""

    key: ApiKey
    permission: KeyPermission
    ledger: Ledger
    ports: Ports
    settings: Settings

    @property
    def actor(self) -> Actor:
        """Who acts, as ledger and audit name the key."""
        return self.key.actor

    @property
    def role(self) -> Role:
        """As what its SQL runs."""
        return self.key.role_for(self.permission)

    @property
    def access(self) -> AccessPorts:
        """Keys and their use, as far as the key may see them."""
        return access_ports(self.settings, self.ledger, self.ports.clock)

    def check_sees(self, business: str | None) -> None:
        """NotFoundError, as for what is not there, unless the key sees what belongs to the business."""
        if not self.key.sees(business):
            raise not_there()


def not_there() -> NotFoundError:
    """The answer to an id that does not exist for the key, whyever."""
    return NotFoundError("There is nothing of that id.", do="Ask the list for what there is.")


class Problem(BaseModel):
    """What went wrong (RFC 9457), what to do about it, and the id under which the server's log has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "type": "urn:backup-pipeline:problem:not-found", "title": "Not Found", "status": 404,
        "detail": "There is nothing of that id.", "do": "Ask the list for what there is.", "request_id": "0f3a5c77e1b2",
    }]})  # fmt: skip

    type: str
    title: str
    status: int
    detail: str
    do: str
    request_id: str


def _problem(text: str) -> dict[str, Any]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": text, "content": {"application/problem+json": schema}}


PROBLEMS: Mapping[int | str, dict[str, Any]] = {
    400: _problem("What was sent can not be read."),
    401: _problem("No key came, or one that is worth nothing."),
    403: _problem("The key has not the permission, or a rule forbids it."),
    404: _problem("There is no such thing, or not for this key."),
    409: _problem("Not now: something else is at work, or it stands otherwise by now."),
    413: {"description": "More was sent than anything here needs: a mebibyte.", "content": {"text/plain": {}}},
    422: _problem("What was sent does not fit."),
    429: _problem("The key had its calls of this hour; `Retry-After` says when there is room again."),
    500: _problem("Something nobody has foreseen."),
    503: _problem("Something that is needed is away."),
}


def takes(*any_of: KeyPermission, **extra: Any) -> dict[str, Any]:
    """What a route takes: one of these permissions. For the decorator of the route, as keywords."""
    documented = {PERMISSIONS: [str(permission) for permission in any_of], "security": [{"ApiKey": []}]}
    return {"openapi_extra": {**documented, **extra}}


def api_router(tag: str, **more: Any) -> APIRouter:
    """A router whose routes are the API's: each has to say what it takes."""
    return APIRouter(route_class=ApiRoute, tags=[tag], responses={**PROBLEMS}, **more)


class ApiRoute(APIRoute):
    """A route that programs with a key call. ValueError when it does not say what it takes."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        if PERMISSIONS not in (more.get("openapi_extra") or {}):
            message = f"{path} does not say what it takes"
            raise ValueError(message)
        super().__init__(path, endpoint, **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the key looked at before anything of the request is."""
        perform = super().get_route_handler()
        any_of = tuple(KeyPermission(name) for name in (self.openapi_extra or {})[PERMISSIONS])

        async def handle(request: Request) -> Response:
            caller = await run_in_threadpool(admitted, request, self.path, any_of)
            request.state.caller = caller
            given = request.headers.get("idempotency-key") if request.method == "POST" else None
            if given is None:
                return await perform(request)
            return await _once(request, caller, given, perform)

        return handle


def caller_of(request: Request) -> Caller:
    """Who calls: the route has let it in."""
    caller: Caller = request.state.caller
    return caller


CallerOf = Annotated[Caller, Depends(caller_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Sent twice with the same key and the same body, it is done once.",
    ),
]
"""For the signature of a POST, so that the document names it; the route itself has looked at it."""


def admitted(request: Request, route: str, any_of: tuple[KeyPermission, ...]) -> Caller:
    """Who calls, counted. AnswerError 401 without a key that works, 429 above its limit; RefusedError else."""
    _check_way(request)
    key = _key_of(request)
    meter: CallMeter = request.app.state.meter
    call = Call(request_id_of(request) or "", f"{request.method} {route}", address_of(request))
    digested = digest(key)
    meter.check(digested, call)
    admission = console_access(request).access.keys.admit(digested, call)
    if admission is None:
        raise _no_key("This key is not known here.")  # noqa: EM101
    over = admission.key.why_over(admission.at)
    if over is not None:
        raise _no_key(over)
    request.state.call, request.state.admission = call, admission
    if not admission.allowed:
        meter.remember(digested, admission)
        meter.check(digested, call)
        check_room(admission)
    return _caller(request, admission, check_key_may(admission.key, *any_of))


def _caller(request: Request, admission: Admission, permission: KeyPermission) -> Caller:
    ports: Ports = request.app.state.ports
    settings: Settings = request.app.state.settings
    rights = KeyRights(admission.key, permission)
    identity = PersonIdentity(address=address_of(request), request_id=request_id_of(request), key=rights)
    ledger = ports.ledger.as_person(identity)
    alerter = LaterAlerter(ports, request.app.state.senders)
    own = replace(ports, ledger=ledger, alerter=alerter, console_url=console_address(request))
    return Caller(admission.key, permission, ledger, own, settings)


def _key_of(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _no_key("A program calls with a key.")  # noqa: EM101
    if not is_key(key.strip()):
        raise _no_key("What came as a key is none: a key is sk_ and 32 characters.")  # noqa: EM101
    return key.strip()


def _no_key(what: str) -> AnswerError:
    do = "Send it as `Authorization: Bearer sk_…`; a super admin makes one: page API keys, `backup-pipeline key api`."
    return AnswerError(401, what, do=do, headers={"WWW-Authenticate": 'Bearer realm="backup-pipeline"'})


def _check_way(request: Request) -> None:
    settings: Settings = request.app.state.settings
    if not is_secure_way(settings, request.url.scheme, request.url.hostname):
        message = "A key does not travel over plain HTTP from another machine: it could be read on its way."
        raise RefusedError(message, do="Call over https, and let the old key be revoked: somebody may have it by now.")


_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def _once(
    request: Request, caller: Caller, given: str, perform: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    """The answer of `perform`, or the one that the same request had before."""
    if not _IDEMPOTENCY_KEY.fullmatch(given):
        message = "An Idempotency-Key is 1 to 255 characters of ASCII that can be seen."
        raise UsageError(message, do="A UUID is a good one.")
    access, number = console_access(request).access, caller.key.number
    # How long somebody waits for the answer makes no other request of it.
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "wait"]
    content = json.dumps([request.method, request.url.path, sorted(query)]).encode() + await request.body()
    fingerprint = hashlib.sha256(content).hexdigest()
    before = await run_in_threadpool(access.answers.claim, number, given, fingerprint, caller.ports.clock())
    if before is not None and before.fingerprint != fingerprint:
        message = "This Idempotency-Key came with another request before."
        raise UsageError(message, do="Send another key with each request that is another.")
    if before is not None and before.status is None:
        message = "The same request is at work."
        raise LockedError(message, do="Ask again in a moment: you get its answer then.")
    if before is not None and before.status is not None:
        return JSONResponse(json.loads(before.body or "null"), before.status, {REPLAYED: "true"})
    kept = False
    try:
        answer = await perform(request)
        if answer.status_code < 400 and isinstance(getattr(answer, "body", None), bytes):
            body = bytes(answer.body).decode()
            await run_in_threadpool(access.answers.settle, number, given, answer.status_code, body)
            kept = True
        return answer
    finally:
        if not kept:  # nothing was done, or not all: it may come again
            await run_in_threadpool(access.answers.drop, number, given)
