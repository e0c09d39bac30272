"""Links to downloads in the ledger: only the digest of each token is kept, so whoever reads it can use none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, RowMapping, insert, select, update

from backup_pipeline.core.access.downloads import DownloadLink
from backup_pipeline.core.scope import parse_actor
from backup_pipeline.ledger.console_tables import download_links
from backup_pipeline.ledger.tables import actor_column, scope_columns, scope_of, utc

_ROW = download_links.c


class SqlDownloads:
    """The port `Downloads` over the table `download_links`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def add(self, link: DownloadLink, token: str) -> DownloadLink:
        """Keep a link under the digest of its token; with its number."""
        values = {
            "token_sha256": token,
            "backup_id": link.backup_id,
            "rendering": link.form,
            "detail": {"request": str(link.request)} if link.request else {},
            "user_id": link.user,
            "created_at": link.created_at,
            "expires_at": link.expires_at,
            **scope_columns(link.scope),
            **actor_column(link.actor),
        }
        with self._transaction() as connection:
            return _link_of(connection.execute(insert(download_links).values(values).returning(*_ROW)).mappings().one())

    def of_token(self, token: str) -> DownloadLink | None:
        """The link under that digest, also one that does not work any more."""
        query = select(download_links).where(_ROW.token_sha256 == token)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _link_of(row) if row is not None else None

    def use(self, number: int, now: datetime) -> bool:
        """Count a use; False when it does not work any more."""
        works = (_ROW.id == number, _ROW.revoked_at.is_(None), _ROW.expires_at > now)
        with self._transaction() as connection:
            used = update(download_links).where(*works).values(used_at=now, uses=_ROW.uses + 1)
            return connection.execute(used).rowcount > 0

    def revoke(self, number: int, now: datetime) -> DownloadLink | None:
        """End a link; None where there is none, or none that the asker may end. One that was ended stays so."""
        ended = update(download_links).where(_ROW.id == number, _ROW.revoked_at.is_(None)).values(revoked_at=now)
        with self._transaction() as connection:
            connection.execute(ended)
            row = connection.execute(select(download_links).where(_ROW.id == number)).mappings().one_or_none()
        return _link_of(row) if row is not None and row["revoked_at"] is not None else None

    def list(self, backup_id: str) -> Sequence[DownloadLink]:
        """The links to a backup, newest first."""
        query = select(download_links).where(_ROW.backup_id == backup_id).order_by(_ROW.id.desc())
        with self._transaction() as connection:
            return [_link_of(row) for row in connection.execute(query).mappings()]


def _link_of(row: RowMapping) -> DownloadLink:
    request = row["detail"].get("request")
    return DownloadLink(
        number=row["id"],
        backup_id=row["backup_id"],
        scope=scope_of(row),
        form=row["rendering"],
        user=row["user_id"],
        actor=parse_actor(row["actor"]),
        created_at=utc(row["created_at"]),
        expires_at=utc(row["expires_at"]),
        request=UUID(request) if request else None,
        revoked_at=utc(row["revoked_at"]),
        used_at=utc(row["used_at"]),
        uses=row["uses"],
    )
