"""Downloads by a link: made, revoked, and the bytes of what it names, the last of them only when all were right."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from backup_pipeline.core.access import Permission, User, check_permission
from backup_pipeline.core.access.downloads import BUNDLE, FORMS, LINK_LIFE, DownloadLink, is_small
from backup_pipeline.core.access.sessions import digest
from backup_pipeline.core.errors import NotFoundError, RefusedError, UsageError
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.browse import bundle_place, compared, opened_unread
from backup_pipeline.operations.download import AuditTrail, Destination, render_backup
from backup_pipeline.operations.leases import reading

_CHUNK = 1 << 18
_AGAIN = "Make another on the page of the backup; whoever gave you this one may do so."


@dataclass(frozen=True)
class Download:
    """A file to be sent: its name, how many bytes it has, their SHA-256, and the bytes, which are read once."""

    name: str
    size: int
    sha256: str
    chunks: Iterator[bytes]


def create_link(
    attempt: Attempt, form: str, user: User, ports: Ports, *, request: UUID | None = None
) -> tuple[DownloadLink, str]:
    """A link to the backup in a form, and its token, which is known only now; the audit has who made it.

    RefusedError for who may not download; NotFoundError where there is no bundle; UsageError for a form that is none.
    """
    check_permission(user, Permission.DOWNLOAD)
    check_form(form)
    bundle_place(attempt)
    now, token = ports.clock(), secrets.token_urlsafe(32)
    link = DownloadLink(
        backup_id=attempt.backup_id,
        scope=attempt.scope,
        form=form,
        user=user.number,
        actor=user.actor,
        created_at=now,
        expires_at=now + LINK_LIFE,
        request=request,
    )
    added = ports.ledger.downloads.add(link, digest(token))
    _trail(ports, user.actor).note(
        "link",
        attempt.backup_id,
        form=form,
        number=added.number,
        expires_at=added.expires_at.isoformat(timespec="seconds"),
    )
    return added, token


def revoke_link(number: int, actor: Actor, ports: Ports) -> DownloadLink:
    """End a link; NotFoundError where there is none that the asker may end."""
    link = ports.ledger.downloads.revoke(number, ports.clock())
    if link is None:
        message = f"There is no link {number} that you may revoke."
        raise NotFoundError(message, do="The page of a backup lists its links.")
    attempt = ports.ledger.get(link.backup_id)
    if attempt is not None:
        _trail(ports, actor).note("link revoked", attempt.backup_id, number=number)
    return link


def known_link(token: str, ports: Ports) -> DownloadLink:
    """The link of a token; NotFoundError where there is none, RefusedError where it does not work any more."""
    link = ports.ledger.downloads.of_token(digest(token))
    if link is None:
        message = "There is no such link."
        raise NotFoundError(message, do=_AGAIN)
    why = link.refused(ports.clock())
    if why is not None:
        raise RefusedError(why, do=_AGAIN)
    return link


def opened_link(link: DownloadLink, user: User | None, ports: Ports, rendered: Path | None = None) -> Download:
    """What the link gives, as the user who made it: who may not download any more, gives nothing by it either.

    `rendered` is the file that a run made, where one did. RefusedError; NotFoundError when the backup is gone;
    VerificationError when ledger, manifest and bytes contradict each other, for a bundle as its last bytes are read.
    """
    if user is None or not user.may(Permission.DOWNLOAD):
        message = f"{link.actor.for_people}, who made this link, may not download any more."
        raise RefusedError(message, do=_AGAIN)
    attempt = ports.ledger.get(link.backup_id)
    if attempt is None:
        message = f"There is no backup {link.backup_id}."
        raise NotFoundError(message, do="It was removed since.")
    bundle_place(attempt)
    if not ports.ledger.downloads.use(link.number, ports.clock()):
        message = "This link does not work any more."
        raise RefusedError(message, do=_AGAIN)
    taking = _Taking(link.actor, link.form, {"link": link.number})
    if rendered is not None and link.form != BUNDLE:
        return _file(rendered, attempt, taking, ports, ExitStack())
    return _taken(attempt, taking, ports)


def opened_download(attempt: Attempt, form: str, actor: Actor, ports: Ports) -> Download:
    """The backup in a form, for whoever was let in by another way than a link; errors as of `opened_link`.

    UsageError for a form that is none.
    """
    check_form(form)
    bundle_place(attempt)
    return _taken(attempt, _Taking(actor, form, {}), ports)


def check_form(form: str) -> None:
    """UsageError unless a backup can be had in that form."""
    if form not in FORMS:
        message = f"{form!r} is no form of a backup."
        raise UsageError(message, do=f"Choose {', '.join(FORMS)}.")


@dataclass(frozen=True)
class _Taking:
    """Who takes a backup, in which form, and what the audit says besides."""

    actor: Actor
    form: str
    detail: Mapping[str, object]


def _taken(attempt: Attempt, taking: _Taking, ports: Ports) -> Download:
    if taking.form == BUNDLE:
        return _bundle(attempt, taking, ports)
    return _rendering(attempt, Rendering(taking.form), taking, ports)


def _bundle(attempt: Attempt, taking: _Taking, ports: Ports) -> Download:
    opened = opened_unread(attempt, ports.store)
    bundle = opened.bundle
    # The audit comes before the bytes: nobody gets any of which nothing is written down.
    detail = {"file_name": bundle.name, "bytes": bundle.bytes, **taking.detail}
    _trail(ports, taking.actor).note("download", attempt.backup_id, **detail)

    def chunks() -> Iterator[bytes]:
        with reading(attempt.backup_id, "download", taking.actor, ports):
            yield from withheld(compared(opened, ports.store, ports.progress))

    return Download(bundle.name, bundle.bytes, bundle.sha256, chunks())


def withheld(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks, the last one only after all were compared: what is damaged never arrives whole."""
    last: bytes | None = None
    for chunk in chunks:
        if last is not None:
            yield last
        last = chunk
    if last is not None:
        yield last


def _rendering(attempt: Attempt, kind: Rendering, taking: _Taking, ports: Ports) -> Download:
    """A small rendering, made now in a folder that goes with the last byte."""
    if not is_small(attempt):
        message = f"{kind.name} of {attempt.backup_id} is too large to be made while you wait."
        raise RefusedError(message, do="Let a run make it: the page of the backup has a button for it.")
    kept = ExitStack()
    with ExitStack() as opened:
        ports.spool.mkdir(parents=True, exist_ok=True)
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="download-", dir=ports.spool))
        opened.enter_context(reading(attempt.backup_id, "download", taking.actor, ports))
        path = render_backup(
            attempt,
            kind,
            Destination(Path(folder)),
            store=ports.store,
            formats=ports.formats,
            audit=_trail(ports, taking.actor),
            progress=ports.progress,
        )
        kept = opened.pop_all()
    return _file(path, attempt, taking, ports, kept, audited=True)


def _file(
    path: Path, attempt: Attempt, taking: _Taking, ports: Ports, kept: ExitStack, *, audited: bool = False
) -> Download:
    """A file of this machine; `kept` is closed when it was read."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
    except BaseException:
        kept.close()
        raise
    if not audited:
        detail = {"file_name": path.name, "bytes": size, "rendering": taking.form, **taking.detail}
        _trail(ports, taking.actor).note("download", attempt.backup_id, **detail)

    def chunks() -> Iterator[bytes]:
        with kept, path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return Download(path.name, size, sha256, chunks())


def _trail(ports: Ports, actor: Actor) -> AuditTrail:
    return AuditTrail(ports.ledger, ports.clock, actor)
