"""What the API is: its routers, its document (OpenAPI 3.1), and that document as a page for people.

GET /api/openapi.json       for programs
GET /reference              for people: made on the server, with nothing from elsewhere
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from markupsafe import Markup
from starlette.routing import compile_path

from backup_pipeline import __version__
from backup_pipeline.core.access.api_keys import KeyPermission
from backup_pipeline.web.api import (
    BEARER,
    PERMISSIONS,
    PROBLEMS,
    Problem,
    analytics,
    backups,
    businesses,
    functions,
    payments,
    restores,
    watching,
)
from backup_pipeline.web.rendering import page

reference_router = APIRouter()
_ROUTES = (
    backups.router,
    businesses.router,
    restores.router,
    payments.router,
    analytics.router,
    watching.router,
    functions.router,
)
"""The routers whose routes take a key; a new subject is added here."""
API_ROUTERS: tuple[APIRouter, ...] = (*_ROUTES, reference_router)

_ABOUT = (
    "Programs call with a key: `Authorization: Bearer sk_…`. A key has permissions, sees all or one business, and has "
    "so many calls in any 60 minutes: above that the answer is 429, and `Retry-After` says when there is room again. "
    "Errors are problems (RFC 9457) with `do`, what to do, and `request_id`. A POST with an `Idempotency-Key` is done "
    "once, however often it is sent. What takes long answers 202 with `status_url`; with `?wait=60` it answers 200 "
    "when it is done in time. Lists go on with `after`, which is the `next` of the page before."
)


@cache
def api_document() -> Mapping[str, Any]:
    """The OpenAPI document of every route that takes a key."""
    app = FastAPI(title="backup_pipeline", version=__version__, description=_ABOUT)
    for router in _ROUTES:
        app.include_router(router)
    document: dict[str, Any] = app.openapi()
    components = document.setdefault("components", {})
    components["securitySchemes"] = BEARER
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in operations_of(document):
        for status in PROBLEMS:
            operation.details["responses"].setdefault(str(status), {})
    return document


@dataclass(frozen=True)
class ApiOperation:
    """A route of the document: its method, its path, and what the document says of it."""

    method: str
    path: str
    details: dict[str, Any]

    @property
    def permissions(self) -> list[KeyPermission]:
        """Of which a key needs one."""
        return [KeyPermission(name) for name in self.details[PERMISSIONS]]

    @property
    def anchor(self) -> str:
        """A name for it on a page."""
        return "".join(letter if letter.isalnum() else "-" for letter in f"{self.method}{self.path}".lower())

    @property
    def example(self) -> str:
        """The call as a line of curl; a body is the document's own example."""
        words = ["curl -s", '-H "Authorization: Bearer $KEY"']
        body = self.details.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if body is not None:
            words += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(_example_of(body))}'"]
        elif self.method == "POST":
            words.append("-X POST")
        return " ".join([*words, f'"$CONSOLE{self.path}"'])


def _example_of(schema: Mapping[str, Any]) -> object:
    name = schema.get("$ref", "").rpartition("/")[2]
    known = api_document()["components"]["schemas"].get(name, schema)
    return (known.get("examples") or [{}])[0]


def methods_of(path: str) -> Sequence[str]:
    """The methods that a path of the API has."""
    known = [*operations_of(api_document())]
    return sorted({each.method for each in known if compile_path(each.path)[0].match(path)}) or ["GET"]


def operations_of(document: Mapping[str, Any]) -> Iterator[ApiOperation]:
    """Every route of the document, in its order."""
    for path, methods in document["paths"].items():
        for method, details in methods.items():
            yield ApiOperation(method.upper(), path, details)


@reference_router.get("/api/openapi.json")
def openapi() -> Response:
    """The document, for programs."""
    return JSONResponse(api_document(), headers={"Cache-Control": "no-cache"})


@reference_router.get("/reference")
def reference(request: Request) -> Response:
    """The same for people. It tells nothing of this installation, so nobody has to sign in for it."""
    document = api_document()
    groups: dict[str, list[ApiOperation]] = {}
    for operation in operations_of(document):
        groups.setdefault(operation.details["tags"][0], []).append(operation)
    permissions = [(permission.value, permission.in_words) for permission in KeyPermission]
    return page(request, "reference.html", about=_ABOUT, groups=groups, permissions=permissions, marked=_marked)


def _marked(text: str) -> Markup:
    """A text of the document, what stands between backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(parts)
    )
