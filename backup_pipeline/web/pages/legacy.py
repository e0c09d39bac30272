"""Files of the programs before this one: beside the backups, each with its mark; taken out, or made a backup of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import StreamingResponse

from backup_pipeline.core.access import Permission
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.legacy import LegacyFile, LegacyState
from backup_pipeline.core.runs import RunRequest, RunVerb
from backup_pipeline.operations.download import AuditTrail
from backup_pipeline.operations.legacy import JudgedFiles, LegacyListing, adopted_backups, taken_out
from backup_pipeline.web.people import Visitor, allowed, not_there, signed_in, systems_seen
from backup_pipeline.web.rendering import page, systems_of

router = APIRouter()

_LAST_RUNS = 100

STATES: Mapping[LegacyState, str] = {
    LegacyState.GOOD: "Every table has the hash that the file states, as far as it states one that can be made again.",
    LegacyState.HASH_DIFFERS: "A table was changed, added or taken out since the file was written.",
    LegacyState.COUNT_DIFFERS: "The file says another number of records than it has.",
    LegacyState.TRUNCATED: "The file ends in its middle.",
    LegacyState.NOT_JSON: "It is another file, or damaged in its middle.",
    LegacyState.EMPTY: "It has no bytes, or no tables.",
    LegacyState.UNKNOWN_VERSION: "It is of a program that nobody knows.",
    LegacyState.TOO_LARGE: "It is too large to be looked into here; the command line looks into 256 MiB.",
}
"""What each mark means."""


@dataclass(frozen=True)
class LegacyRow:
    """A file, the backup that was made of it, and the last run that was to make one."""

    file: LegacyFile
    adopted: Attempt | None
    run: RunRequest | None

    @property
    def at_work(self) -> bool:
        """Whether a run makes a backup of it now."""
        return self.adopted is None and self.run is not None and not self.run.status.over

    @property
    def failed(self) -> bool:
        """Whether the last run could not."""
        return self.adopted is None and self.run is not None and self.run.status.over

    @property
    def good(self) -> bool:
        """Whether a backup can be made of it: it is whole, and its name has its moment."""
        return self.file.state is LegacyState.GOOD and self.file.at is not None

    @property
    def rows(self) -> int | None:
        """Its records of all tables; None where nothing is known of them."""
        return sum(self.file.records.values()) if self.file.records else None


@dataclass(frozen=True)
class LegacySystem:
    """The files of a system; `problem` says why they can not be seen."""

    catalog: Catalog
    rows: Sequence[LegacyRow] = ()
    pending: int = 0
    problem: str = ""

    @property
    def corrupted(self) -> int:
        """How many are marked."""
        return sum(row.file.state not in {LegacyState.GOOD, LegacyState.TOO_LARGE} for row in self.rows)


def legacy_view(request: Request, visitor: Visitor) -> Mapping[str, Any]:
    """What `legacy_files.html` shows: the files of each system that a page is about and that has such folders."""
    systems = [catalog for catalog in systems_seen(request, visitor) if catalog.legacy]
    user = visitor.user
    return {
        "legacy": [_system(catalog, request.app.state.judged, visitor) for catalog in systems],
        "may_take_out": user.may(Permission.DOWNLOAD),
        "may_adopt": user.may(Permission.REQUEST_RESTORE),
        "new_request": lambda: str(uuid4()),
    }


def _system(catalog: Catalog, judged: JudgedFiles, visitor: Visitor) -> LegacySystem:
    """StoreError costs the files, and no page: what else it shows is the ledger's."""
    try:
        listing: LegacyListing = judged.of(catalog, visitor.ports.store, visitor.ports.clock())
    except BackupError as error:
        return LegacySystem(catalog, problem=f"{error.what} {error.do}".strip())
    adopted = adopted_backups(catalog, visitor.ledger)
    runs = visitor.ledger.run_requests.list(catalog=catalog.catalog, limit=_LAST_RUNS)
    last = {str(run.detail.get("key")): run for run in reversed(runs) if run.verb is RunVerb.ADOPT}
    rows = [LegacyRow(file, adopted.get(file.key), last.get(file.key)) for file in listing.files]
    return LegacySystem(catalog, rows, listing.pending)


@router.get("/legacy")
def show_legacy(request: Request, visitor: Annotated[Visitor, Depends(signed_in)]) -> Response:
    """The files of every system, and what their marks mean."""
    view = legacy_view(request, visitor)
    command = "backup-pipeline list --legacy"
    named = [each.catalog.catalog for each in view["legacy"]]
    return page(
        request,
        "legacy.html",
        states=STATES,
        command=f"{command} --catalog {named[0]}" if len(named) == 1 else command,
        live=True,
        **view,
    )


@router.post("/legacy/download")
def take_out(
    request: Request,
    visitor: Annotated[Visitor, Depends(allowed(Permission.DOWNLOAD))],
    catalog: Annotated[str, Form(max_length=200)] = "",
    key: Annotated[str, Form(max_length=1_000)] = "",
) -> Response:
    """A file as it lies in the store, whatever its mark; the audit has it before the first byte."""
    visitor.check_sees(None)
    declared = systems_of(request)
    if catalog not in declared:
        raise not_there()
    audit = AuditTrail(visitor.ledger, visitor.ports.clock, visitor.actor)
    file = taken_out(key, declared[catalog], store=visitor.ports.store, audit=audit)
    file.note()
    name = file.key.rpartition("/")[2]
    headers = {
        "Content-Length": str(file.size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
    }
    # Never as a document of ours: what it holds is somebody's, and a browser would show it.
    return StreamingResponse(file.chunks(), headers=headers, media_type="application/octet-stream")
