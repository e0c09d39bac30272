"""Downloads: a button makes a link and follows it; a link gives one backup, in one form, for an hour."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from backup_pipeline.core.access import Permission, User
from backup_pipeline.core.access.downloads import BUNDLE, DownloadLink
from backup_pipeline.core.access.sessions import PersonIdentity
from backup_pipeline.core.ports import Ports
from backup_pipeline.operations.access.download_links import (
    Download,
    create_link,
    known_link,
    opened_link,
    revoke_link,
)
from backup_pipeline.operations.download import rendered_file
from backup_pipeline.web.pages.backups import visible_backup
from backup_pipeline.web.people import Visitor, address_of, allowed, console_access, request_id_of
from backup_pipeline.web.rendering import console_address, page, redirect
from backup_pipeline.wiring.addresses import work_dir

router = APIRouter()

_TYPES = {
    "zip": "application/zip",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "json_zip": "application/zip",
    "comprehensive": "application/json",
    "quarantine": "application/json",
}
DOWNLOAD_TYPES = sorted({kind.partition(";")[0] for kind in _TYPES.values()})
"""The media types that a download can have."""


@router.post("/backups/{backup_id}/download")
def make_download(
    request: Request,
    backup_id: str,
    visitor: Annotated[Visitor, Depends(allowed(Permission.DOWNLOAD))],
    form: Annotated[str, Form()] = BUNDLE,
    run: Annotated[UUID | None, Form()] = None,
    *,
    show: Annotated[bool, Form()] = False,
) -> Response:
    """Make a link, and follow it at once; or `show` it, for somebody else. `run`: the request that made a rendering."""
    row = visible_backup(backup_id, visitor)
    link, token = create_link(row, form, visitor.user, visitor.ports, request=run)
    if not show:
        return RedirectResponse(f"/d/{token}", 303)
    url = f"{console_address(request)}/d/{token}"
    return page(request, "link.html", link=link, url=url, row=row, command=f"curl -fOJ {url}")


@router.post("/links/{number}/revoke")
def end_link(
    request: Request, number: int, visitor: Annotated[Visitor, Depends(allowed(Permission.DOWNLOAD))]
) -> Response:
    """End a link before its hour is over."""
    link = revoke_link(number, visitor.actor, visitor.ports)
    return redirect(request, f"/backups/{link.backup_id}#download", "The link was revoked: nobody can use it any more.")


@router.api_route("/d/{token}", methods=["GET", "HEAD"])
def follow_link(request: Request, token: str) -> Response:
    """The bytes of a link. Whoever has it needs no login: the link is the permission, of the user who made it."""
    console: Ports = request.app.state.ports
    access = console_access(request)
    link = known_link(token, replace(console, ledger=access.ledger))
    user = access.access.users.get(link.user)
    ports = _as_maker(request, user, console)
    download = opened_link(link, user, ports, _rendered(request, link, ports))
    return sent_download(download, link.form, {"X-Link-Expires": link.expires_at.isoformat(timespec="seconds")})


def _as_maker(request: Request, user: User | None, console: Ports) -> Ports:
    identity = PersonIdentity(user, None, address_of(request), request_id_of(request))
    return replace(console, ledger=console.ledger.as_person(identity))


def _rendered(request: Request, link: DownloadLink, ports: Ports) -> Path | None:
    """The file that a run made for the link, if one did; NotFoundError when its hour is over."""
    if link.request is None:
        return None
    rendering = ports.ledger.run_requests.get(link.request)
    if rendering is None or rendering.detail.get("backup_id") != link.backup_id:
        return None
    return rendered_file(work_dir(request.app.state.settings), link.request, ports.clock())


def sent_download(download: Download, form: str, more: Mapping[str, str] | None = None) -> Response:
    """The answer that streams a download in a form, with `more` headers."""
    plain = re.sub(r"[^\w .()-]", "_", download.name, flags=re.ASCII)
    digest = base64.b64encode(bytes.fromhex(download.sha256)).decode()
    headers = {
        "Content-Length": str(download.size),
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(download.name)}",
        "Repr-Digest": f"sha-256=:{digest}:",
        "X-Checksum-Sha256": download.sha256,
        **(more or {}),
    }
    return StreamingResponse(_closing(download.chunks), headers=headers, media_type=_TYPES[form])


def _closing(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whoever goes away before the end leaves no file and no reading behind."""
    try:
        yield from chunks
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
