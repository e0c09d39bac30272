"""The gate in front of a web server: what it refuses never reaches the application behind it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from backup_pipeline.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104  # names of it, not a bind
_READING = {"GET", "HEAD"}
_METHODS = {*_READING, "POST"}
_OWN_SITE = {"same-origin", "none"}
_QUERY = {"query", "variables", "operationName"}
# The first two are what GraphQL is sent as. A page may send other types to any site without asking it first.
_GRAPHQL_TYPES = {"application/json", "application/graphql"}
_HOSTS_DO = "If people do reach it under that name, add it to BACKUP_ALLOWED_HOSTS."


@dataclass(frozen=True)
class WebRequest:
    """A request as it came. `method` is WEBSOCKET for a handshake; `headers` have their names in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """The value of a header that came once; None when there is none. Several count as one that fits nothing."""
        values = self.headers.get(name, ())
        return ", ".join(values) if values else None


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered, with an HTTP status."""

    status: int
    message: str


@dataclass(frozen=True)
class AllowedHosts:
    """The names under which a server may be asked for, and the sites whose pages may ask it (`host` or `host:port`).

    `any_address`: it listens on all addresses of the machine, so each may be named as a number. No name can be bound to
    such a Host later: only names can.
    """

    names: frozenset[str]
    sites: frozenset[str]
    any_address: bool

    def has(self, host: str) -> bool:
        """Whether the Host header `host` is one of ours; its port may be a proxy's."""
        name = _name(host)
        return name is not None and (name in self.names or (self.any_address and _is_address(name)))


def allowed_hosts(bind: str, more: Iterable[str], url: str = "") -> AllowedHosts:
    """What is allowed for a server bound to `bind`: this machine's names, that address, `more`, and the host of `url`.

    `url` is where people find the page; of a loopback address it says nothing, since every program here is found there.
    """
    netloc = urlsplit(url).netloc.rpartition("@")[2]
    public = [netloc] if netloc and _name(netloc) not in _LOOPBACK else []
    sites = [site.lower() for site in (*more, *public)]
    names = {name for site in sites if (name := _name(site))}
    own = {bind.lower().strip("[]")} - _WILDCARDS
    return AllowedHosts(
        frozenset({*_LOOPBACK, *own, *names}), frozenset(map(_without_default_port, sites)), bind in _WILDCARDS
    )


def refusal(request: WebRequest, allowed: AllowedHosts, programs: tuple[str, ...] = ()) -> Refusal | None:
    """Why the request is refused; None when it may pass.

    Below the paths `programs` any method passes: what answers there knows which ones it has, and says so.
    """
    if {"transfer-encoding", "content-length"} <= request.headers.keys():
        return Refusal(400, "A request has its length, or comes in chunks: two servers read one with both differently.")
    host = request.header("host")
    if host is None or not allowed.has(host):
        return Refusal(421, f"This server does not answer for the host {host!r}. {_HOSTS_DO}")
    if request.method == "WEBSOCKET":
        return _foreign(request, host, allowed)
    if request.method not in _METHODS and not (programs and request.path.startswith(programs)):
        return Refusal(405, f"{request.method} is not answered here.")
    if request.method in _READING:
        return _refused_reading(request) or _refused_graphql(request)
    return _foreign(request, host, allowed) or _refused_graphql(request)


def _refused_reading(request: WebRequest) -> Refusal | None:
    """Another site may lead a person here, by a link; it may not load or frame what is here."""
    site = request.header("sec-fetch-site")
    led = (request.header("sec-fetch-mode"), request.header("sec-fetch-dest")) == ("navigate", "document")
    if site is None or site in _OWN_SITE or led:
        return None
    return Refusal(403, "A page of another site may not read this.")


def _foreign(request: WebRequest, host: str, allowed: AllowedHosts) -> Refusal | None:
    """Why a request that may change something, or a websocket, is another site's."""
    message = "A page of another site may not do this"
    site = request.header("sec-fetch-site")
    if site is not None and site not in _OWN_SITE:
        return Refusal(403, f"{message} ({site}).")
    origin = request.header("origin") or request.header("referer")
    if origin is None:
        return None
    netloc = _site(origin)
    if netloc and (netloc == _without_default_port(host.lower()) or netloc in allowed.sites):
        return None
    return Refusal(403, f"{message} ({origin}). {_HOSTS_DO}")


def _refused_graphql(request: WebRequest) -> Refusal | None:
    """GraphQL comes in the body of a POST, as a type that a page of another site can not send unasked.

    Dagster takes it from a URL too, by GET, or by POST with any type.
    """
    if request.path.rstrip("/").rpartition("/")[2] != "graphql":
        return None
    if _QUERY & parse_qs(request.query, keep_blank_values=True).keys():
        return Refusal(405, "GraphQL in a URL is not answered: send it by POST, as application/json.")
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind not in _GRAPHQL_TYPES:
        return Refusal(415, f"GraphQL as {kind or 'no type'} is not answered: send it as application/json.")
    return None


def _site(origin: str) -> str:
    """The `host` or `host:port` of a page; nothing where it is no address."""
    try:
        return _without_default_port(urlsplit(origin).netloc.lower())
    except ValueError:
        return ""


def _name(host: str) -> str | None:
    """The name in `name`, `name:port` or `[address]:port`, in lower case; None when it is none of these."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    odd = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    return None if odd else parts.hostname


def _without_default_port(netloc: str) -> str:
    return netloc.removesuffix(":80").removesuffix(":443")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Browsers keep what is read here from other sites: not in a frame, not as a script or a picture.
_CLOSED = ((b"x-frame-options", b"SAMEORIGIN"), (b"cross-origin-resource-policy", b"same-origin"))
_POLICY_VIOLATION = 1008

logger = logging.getLogger(__name__)


def gated(application: Application, host: str, settings: Settings, programs: tuple[str, ...] = ()) -> Application:
    """The application behind the gate, for a server that listens on `host`; `programs` are paths as of `refusal`."""
    return Gate(application, allowed_hosts(host, settings.allowed_hosts, settings.dagster_url), programs)


class Gate:
    """The ASGI application `application`, which gets no request that `refusal` refuses."""

    def __init__(self, application: Application, allowed: AllowedHosts, programs: tuple[str, ...] = ()) -> None:
        self._application = application
        self._allowed = allowed
        self._programs = programs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or have it answered."""
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        request = _request(scope)
        refused = refusal(request, self._allowed, self._programs)
        if refused is None:
            await self._application(scope, receive, _closed(send))
            return
        logger.warning("Refused %s %s: %s", request.method, request.path, refused.message)
        await _refuse(scope, send, refused)


def _request(scope: Scope) -> WebRequest:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    method = "WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"]).upper()
    return WebRequest(method, scope["path"], scope.get("query_string", b"").decode("latin-1"), headers)


async def _refuse(scope: Scope, send: Send, refused: Refusal) -> None:
    if scope["type"] == "websocket":
        # Before the handshake is accepted: the server answers it with 403.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    body = f"{refused.message}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), *_CLOSED]
    if refused.status == HTTPStatus.BAD_REQUEST:
        headers.append((b"connection", b"close"))  # nobody knows where the next request of it begins
    if refused.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", ", ".join(sorted(_METHODS)).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _closed(send: Send) -> Send:
    async def closed(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            more = [(name, value) for name, value in _CLOSED if name not in present]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return closed
