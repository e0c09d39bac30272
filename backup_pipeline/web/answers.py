"""What every answer has: a request id, headers that keep other sites out, and for an error a page that says what to do.

A page of an error never shows a stack: that goes into the log, beside the request id that the page shows.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import body_limit
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backup_pipeline.core.errors import (
    BackupError,
    DagsterAwayError,
    DecidedError,
    DecryptError,
    LedgerUnavailableError,
    LockedError,
    NotFoundError,
    RefusedError,
    StalePlanError,
    StoreUnavailableError,
    UsageError,
    VerificationError,
    wanted,
)
from backup_pipeline.core.text import redact
from backup_pipeline.web.rendering import STATIC, page

logger = logging.getLogger(__name__)

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_FOREVER = "public, max-age=31536000, immutable"

_STATUSES: Mapping[type[BackupError], int] = {
    NotFoundError: 404,
    StalePlanError: 409,
    RefusedError: 403,
    UsageError: 422,
    LockedError: 409,
    DecidedError: 409,
    DecryptError: 409,
    VerificationError: 409,
    LedgerUnavailableError: 503,
    StoreUnavailableError: 503,
    DagsterAwayError: 503,
}
_TITLES = {
    401: "Please sign in",
    403: "This is not allowed",
    404: "There is no such page",
    405: "This can not be done here",
    409: "Not now",
    422: "This can not be done so",
    429: "Too many tries",
    503: "Something that is needed is away",
}
_NEXT = {
    404: "Follow a link of the menu; what belongs to a business that you do not see is not shown to you either.",
    405: "Go back, and use the buttons of the page.",
    422: "Go back and correct what you typed.",
}
_NEXT_OF_API = {
    400: "Send JSON as the document describes it: /api/openapi.json.",
    404: "The document lists every route: /api/openapi.json, or /reference for people.",
    405: "The document says which methods a route has: /api/openapi.json.",
    413: "Send less.",
    422: "Send what the document describes: /api/openapi.json, or /reference for people.",
    500: "Try again. If it repeats, give the request id to whoever runs the server: its log has the rest.",
}
_KINDS = {
    400: "not-readable",
    401: "no-key",
    403: "not-allowed",
    404: "not-found",
    405: "no-such-method",
    409: "not-now",
    413: "too-large",
    422: "does-not-fit",
    429: "too-many-calls",
    503: "away",
}
"""What a program can compare: the ends of the types of problems."""
_INTERNAL = "Something went wrong that nobody has foreseen."
_INTERNAL_DO = "Try again. If it repeats, give the request id below to whoever runs the server: the log has the rest."


def answer_properly(app: FastAPI) -> None:
    """Give every answer of `app` its id and headers, and every error its page."""
    app.add_exception_handler(BackupError, _of_ours)
    app.add_exception_handler(StarletteHTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_form)
    app.add_middleware(Answers)


API_PATHS = ("/api/", "/functions/")


def is_api(path: str) -> bool:
    """Whether a path is the API's: programs ask it, with a key, and get JSON."""
    return path.startswith(API_PATHS)


class AnswerError(BackupError):
    """An answer that is an error, with a status and headers of its own."""

    def __init__(self, status: int, what: str, *, do: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(what, do=do)
        self.status, self.headers = status, dict(headers or {})


class Answers:
    """The ASGI application `app`, whose answers have their id and headers; what it did not foresee is a page too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number = uuid.uuid4().hex[:12]
        scope.setdefault("state", {})["request_id"] = number
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", ()), *_missing(message, scope, number)]}
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            if type(error).__module__ == body_limit.__name__:  # it was too long, and is answered so
                raise
            _log(error, number, scope)
            if started:
                raise
            failed = error_answer(Request(scope), 500, _INTERNAL, _INTERNAL_DO)
            await failed(scope, receive, sent)


_TOKEN = re.compile(r"[\w-]{32,}")


def _log(error: Exception, number: str, scope: Scope) -> None:
    """What nobody has foreseen with its stack; what we know, and came when an answer had begun, as its sentence.

    The token of a link is a permission: it does not go into the log.
    """
    path = _TOKEN.sub("…", scope["path"])
    known = error if isinstance(error, BackupError) else error.__cause__
    if isinstance(known, BackupError):
        logger.warning("Request %s, %s %s, broke off: %s", number, scope["method"], path, redact(known.what))
    else:
        logger.error("Request %s, %s %s, went wrong", number, scope["method"], path, exc_info=error)


def _missing(message: Message, scope: Scope, number: str) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in message.get("headers", ())}
    static = scope["path"].startswith(f"{STATIC}/") and message["status"] in {200, 304}
    cached = (_FOREVER if scope.get("query_string") else "no-cache") if static else "no-store"
    wanted = {**_HEADERS, "cache-control": cached, "x-request-id": number}
    return [(name.encode(), value.encode()) for name, value in wanted.items() if name.encode() not in present]


def error_answer(
    request: Request, status: int, what: str, do: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """The page of an error, or JSON for a program that asks for it. Secrets are taken out of both texts.

    Whoever asks the API gets a problem (RFC 9457).
    """
    if is_api(request.url.path):
        return _problem(request, status, redact(what), redact(do or _NEXT_OF_API.get(status, "")), headers)
    what, do = redact(what), redact(do or _NEXT.get(status, ""))
    if "text/html" not in request.headers.get("accept", "text/html") and "*/*" not in request.headers.get("accept", ""):
        number = request.state.request_id
        return JSONResponse({"error": what, "do": do, "request_id": number}, status, headers=dict(headers or {}))
    title = _TITLES.get(status, "This did not work")
    answer = page(request, "error.html", status=status, heading=title, what=what, do=do)
    answer.headers.update(headers or {})
    return answer


def _problem(request: Request, status: int, what: str, do: str, headers: Mapping[str, str] | None) -> Response:
    document = {
        "type": f"urn:backup-pipeline:problem:{_KINDS.get(status, 'failed')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": what,
        "do": do,
        "request_id": request.state.request_id,
    }
    return JSONResponse(document, status, headers=dict(headers or {}), media_type="application/problem+json")


def status_of(error: BackupError) -> int:
    """The HTTP status of an error of ours."""
    if isinstance(error, AnswerError):
        return error.status
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)


async def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, BackupError)  # noqa: S101  # registered for these alone
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning(
            "Request %s, %s: %s", request.state.request_id, _TOKEN.sub("…", request.url.path), redact(error.what)
        )
    headers = error.headers if isinstance(error, AnswerError) else None
    return error_answer(request, status, error.what, error.do, headers)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101  # registered for these alone
    headers = error.headers or {}
    location = headers.get("Location") or headers.get("location")
    if location is not None and error.status_code // 100 == 3:
        return RedirectResponse(location, error.status_code)
    own = error.detail if isinstance(error, HTTPException) and error.detail else HTTPStatus(error.status_code).phrase
    what = f"Nothing answers to {request.url.path}." if own == HTTPStatus.NOT_FOUND.phrase else str(own)
    return error_answer(request, error.status_code, what, headers=headers)


async def _of_form(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for these alone
    unread = next((each for each in error.errors() if each["type"] == "json_invalid"), None)
    if unread is not None:
        return error_answer(
            request, 422, f"What was sent is no JSON: {unread['ctx']['error']}, at {unread['loc'][-1]}."
        )
    wrong = "; ".join(f"{'.'.join(map(str, each['loc'][1:])) or 'it'} wants {wanted(each)}" for each in error.errors())
    return error_answer(request, 422, f"What was sent does not fit: {wrong}.")
