"""Rows of one table of a backup, a page at a time, for people to look at; masked for who may not take them out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.content.masking import masked_value
from backup_pipeline.core.errors import NotFoundError, RefusedError, UsageError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import StoredManifest, TableEntry
from backup_pipeline.core.ports import Ports
from backup_pipeline.core.ports.files import Queries
from backup_pipeline.operations.browse import opened_backup
from backup_pipeline.operations.download import AuditTrail
from backup_pipeline.operations.query import Bundled, QueryRequest, answered
from backup_pipeline.operations.restore.transfer import Fetching

ROWS_ON_A_PAGE = 50
MOST_TO_LOOK_AT = 64 << 20
"""Bytes of a table's Parquet files up to which its rows are looked at here: all of them are fetched and compared."""
_FARTHEST = 10_000_000
_LONGEST_SEARCH = 200


@dataclass(frozen=True)
class RowsWish:
    """Which rows: those of a table from `offset` on, that have `search` in any column that is seen, by column `sort`.

    Without `sort` in the order in which they were read. `descending` turns the order of `sort` round.
    """

    table: str
    offset: int = 0
    search: str = ""
    sort: str = ""
    descending: bool = False


@dataclass(frozen=True)
class SeenColumn:
    """A column of a page: its PostgreSQL type, whether its values are numbers, and whether they are masked."""

    name: str
    pg_type: str
    number: bool
    masked: bool


@dataclass(frozen=True)
class RowsPage:
    """Rows as texts, None for NULL; `more` says whether others follow. `total` rows are in the table."""

    columns: Sequence[SeenColumn]
    rows: Sequence[Sequence[str | None]]
    offset: int
    more: bool
    total: int
    sql: str


def may_look(catalog: Catalog | None, *, whole: bool) -> bool:
    """Whether somebody may look at rows at all: who sees them `whole`; or anybody, where the catalog says what to mask.

    A catalog that calls no column sensitive has not been asked what strangers may see, so that they see nothing.
    """
    return whole or (catalog is not None and any(table.sensitive for table in catalog.tables.values()))


def look_at_rows(  # what is looked at, for whom, through what
    wish: RowsWish,
    attempt: Attempt,
    catalog: Catalog | None,
    ports: Ports,
    queries: Queries,
    audit: AuditTrail,
    *,
    whole: bool,
) -> RowsPage:
    """A page of rows, each byte compared before; the audit has who looked at which, before any of it is seen.

    Unless somebody sees them `whole`, the sensitive columns of the backup's manifest, and of its catalog as it is now,
    are masked, and neither searched nor sorted by: what is found would tell what is hidden. NotFoundError for a table
    that the backup has not; RefusedError where nothing may be looked at, or the table is too large; otherwise as
    `answered`.
    """
    if not may_look(catalog, whole=whole):
        message = (
            f"The catalog of {attempt.scope.catalog} does not say which columns are sensitive, so rows are not shown."
        )
        raise RefusedError(message, do="Ask somebody who may download backups, or name `sensitive` columns in it.")
    opened = opened_backup(attempt, ports.store)
    entry = _entry(wish.table, opened.manifest)
    hidden = frozenset() if whole else _sensitive(entry, catalog)
    sql = _sql(wish, entry, hidden)
    fetching = Fetching(opened, (ports.store, ports.formats, ports.progress))
    request = QueryRequest(sql, Bundled(opened, fetching), opened.manifest.timezone)
    with answered(request, queries, ports, audit) as answer:
        rows = answer.rows.first(ROWS_ON_A_PAGE + 1)
        columns = _columns(entry, [column.number for column in answer.rows.columns], hidden)
    texts = [_masked(row, columns) for row in rows[:ROWS_ON_A_PAGE]]
    return RowsPage(columns, texts, wish.offset, len(rows) > ROWS_ON_A_PAGE, entry.row_count, sql)


def _entry(table: str, manifest: StoredManifest) -> TableEntry:
    entry = next((each for each in manifest.tables if each.name == table), None)
    if entry is None:
        message = f"Backup {manifest.backup_id} has no table {table[:100]!r}."
        raise NotFoundError(message, do=f"It has {', '.join(each.name for each in manifest.tables)}.")
    size = sum(file.bytes for file in entry.files if file.format == "parquet")
    if size > MOST_TO_LOOK_AT:
        message = f"Table {table} has {size:,} bytes, more than the {MOST_TO_LOOK_AT:,} that are looked at here."
        raise RefusedError(message, do=f"backup-pipeline query 'FROM {table}' --as-of {manifest.backup_id}")
    return entry


def _sensitive(entry: TableEntry, catalog: Catalog | None) -> frozenset[str]:
    declared = catalog.tables.get(entry.name) if catalog else None
    return frozenset({*entry.sensitive, *(declared.sensitive if declared else ())})


def _sql(wish: RowsWish, entry: TableEntry, hidden: Collection[str]) -> str:
    """The SQL of the page: names and texts are quoted, and it is looked at as any stranger's SQL is."""
    seen = [column.name for column in entry.columns if column.name not in hidden]
    search = wish.search.strip()[:_LONGEST_SEARCH]
    where = ""
    if search:
        pattern = _text("%" + "".join(f"\\{sign}" if sign in "%_\\" else sign for sign in search) + "%")
        hits = (f"CAST({_name(name)} AS VARCHAR) ILIKE {pattern} ESCAPE '\\'" for name in seen)
        where = f" WHERE {' OR '.join(hits) or 'false'}"
    order = ""
    if wish.sort:
        if wish.sort not in seen:
            message = f"Nothing is sorted by {wish.sort[:100]!r}: it is no column of {entry.name}, or it is masked."
            raise UsageError(message, do=f"Sort by one of {', '.join(seen)}.")
        order = f" ORDER BY {_name(wish.sort)}{' DESC' if wish.descending else ''} NULLS LAST"
    offset = max(0, min(wish.offset, _FARTHEST))
    return f"SELECT * FROM {_name(entry.name)}{where}{order} LIMIT {ROWS_ON_A_PAGE + 1} OFFSET {offset}"  # noqa: S608


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _columns(entry: TableEntry, numbers: Sequence[bool], hidden: Collection[str]) -> Sequence[SeenColumn]:
    pairs = zip(entry.columns, numbers, strict=True)
    return [SeenColumn(column.name, column.pg_type, number, column.name in hidden) for column, number in pairs]


def _masked(row: Sequence[str | None], columns: Sequence[SeenColumn]) -> Sequence[str | None]:
    return [masked_value(value) if column.masked else value for value, column in zip(row, columns, strict=True)]
