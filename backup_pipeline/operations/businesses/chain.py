"""A business as it was: its full, then what each incremental backup after it changed, up to the one that is wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.layout import deleted_path, member_paths
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.manifest import FileEntry, StoredManifest, TableEntry
from backup_pipeline.core.names import whole
from backup_pipeline.core.ports import OpenBundle, Ports
from backup_pipeline.operations.browse import Ranges, check_unpinned, opened_backup

_LONGEST = 25
"""Backups of a chain: a full, and as many incremental ones as a catalog may ask for."""
Key = tuple[object, ...]


@dataclass(frozen=True)
class TableState:
    """The rows of a table that a business had: how they were written, and the rows, in the order of their keys."""

    entry: TableEntry
    rows: pa.Table


@dataclass(frozen=True)
class BusinessState:
    """A business as the backup `manifest` has it; `chain` are the ids it is made of, the full first."""

    manifest: StoredManifest
    chain: tuple[str, ...]
    tables: Mapping[str, TableState]


def read_state(attempt: Attempt, ports: Ports) -> BusinessState:
    """The business as this backup shows it, whatever its kind.

    Every file is compared with its manifest's SHA-256 before a row of it counts. NotFoundError when one of the chain is
    gone, VerificationError when one is damaged, or is not the one that the next goes on from.
    """
    links = _links(attempt, ports)
    tables: dict[str, TableState] = {}
    for manifest, bundle in links:
        for name, state in _read(manifest, bundle, ports):
            tables[name] = _merged(name, tables.get(name), state, manifest, bundle, ports)
        for name, changes in (manifest.chain.tables if manifest.chain else {}).items():
            if changes.deleted is not None and name not in {table.name for table in manifest.tables}:
                tables[name] = _without(
                    tables[name], _deleted(name, changes.deleted, tables[name].entry, bundle, ports)
                )
    newest = links[-1][0]
    return BusinessState(newest, tuple(manifest.backup_id for manifest, _ in links), tables)


def _links(attempt: Attempt, ports: Ports) -> Sequence[tuple[StoredManifest, OpenBundle]]:
    """The manifests and bundles from the full to `attempt`."""
    links: list[tuple[StoredManifest, OpenBundle]] = []
    while len(links) < _LONGEST:
        opened = opened_backup(attempt, ports.store)
        check_unpinned(opened, ports.store, ports.formats, ports.progress)
        manifest = opened.manifest
        ranges = Ranges(ports.store, opened.key, manifest.bundle.bytes, ports.progress)
        links.append((manifest, ports.formats.open_bundle(ranges.read, manifest.bundle.bytes)))
        if manifest.chain is None:
            return links[::-1]
        before = ports.ledger.get(manifest.chain.previous)
        if before is None or not before.status.good or before.scope != attempt.scope:
            message = f"Backup {manifest.backup_id} goes on from {manifest.chain.previous}, which is not there."
            raise NotFoundError(
                message, do="Use a backup of another chain: `backup-pipeline businesses list` shows them."
            )
        attempt = before
    message = f"The chain of backup {links[0][0].backup_id} has more than {_LONGEST} backups."
    raise VerificationError(message, do="Use another backup.")


def _read(manifest: StoredManifest, bundle: OpenBundle, ports: Ports) -> Iterator[tuple[str, TableState]]:
    for table in manifest.tables:
        paths = {file.name: path for file, path in member_paths(table, None) if file.format == "parquet"}
        files = [file for file in table.files if file.format == "parquet"]
        data = [(file, _content(bundle, paths[file.name], file)) for file in files]
        yield (
            table.name,
            TableState(table, ports.formats.rows(data, table, f"{manifest.backup_id}!parquet/{table.name}/")),
        )


def _content(bundle: OpenBundle, path: str, file: FileEntry) -> bytes:
    data = whole(bundle.stream(path), file.bytes, path)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        message = f"Member {path} of the bundle is damaged: its SHA-256 is not the manifest's."
        raise VerificationError(message, do="Use a backup of another chain.")
    return data


def _merged(
    name: str, before: TableState | None, now: TableState, manifest: StoredManifest, bundle: OpenBundle, ports: Ports
) -> TableState:
    changes = manifest.chain.tables[name] if manifest.chain else None
    if before is None or changes is None or changes.replaced:
        return now
    if changes.deleted is not None:
        before = _without(before, _deleted(name, changes.deleted, before.entry, bundle, ports))
    before = _without(before, keys_of(now.rows, now.entry.key))
    return TableState(before.entry, pa.concat_tables([before.rows, now.rows]))


def _deleted(name: str, file: FileEntry, entry: TableEntry, bundle: OpenBundle, ports: Ports) -> set[Key]:
    columns = {column.name: column for column in entry.columns}
    of_keys = entry.model_copy(
        update={"columns": tuple(columns[key] for key in entry.key), "row_count": file.rows, "files": (file,)}
    )
    path = deleted_path(name)
    return keys_of(ports.formats.rows([(file, _content(bundle, path, file))], of_keys, path), entry.key)


def keys_of(rows: pa.Table, key: Sequence[str]) -> set[Key]:
    """The keys of rows, as Python has their values."""
    return set(zip(*(rows.column(name).to_pylist() for name in key), strict=True))


def _without(state: TableState, keys: set[Key]) -> TableState:
    """The state without the rows of these keys; each is in it at most once."""
    if not keys or not state.rows.num_rows:
        return state
    own = zip(*(state.rows.column(name).to_pylist() for name in state.entry.key), strict=True)
    return TableState(state.entry, state.rows.filter(pa.array([key not in keys for key in own], pa.bool_())))


def differences(state: BusinessState, rows: Mapping[str, pa.Table], changed: Mapping[str, set[Key]]) -> Iterator[str]:
    """How the whole `rows` of a business differ from what its chain has, but for the keys that `changed`; by table."""
    for name, now in rows.items():
        before = state.tables.get(name)
        if before is None:
            yield f"{name}: the chain has no such table"
            continue
        key, drop = before.entry.key, changed.get(name, set())
        if not key or not set(key) <= {*(field.name for field in before.rows.schema)} or not now.num_columns:
            if key and before.rows.num_rows > len(drop):
                yield f"{name}: all rows of the chain are missing"
            continue
        columns = [field.name for field in before.rows.schema if field.type == now.schema.field(field.name).type]
        kept, there = (_by_key(table.select(columns), key, drop) for table in (before.rows, now))
        if kept != there:
            lost, new = len(kept.keys() - there.keys()), len(there.keys() - kept.keys())
            other = sum(there[each] != row for each, row in kept.items() if each in there)
            yield f"{name}: {lost} rows are only in the chain, {new} only in the full, {other} are others"


def _by_key(rows: pa.Table, key: Sequence[str], drop: set[Key]) -> dict[Key, Key]:
    columns = [rows.column(name).to_pylist() for name in rows.column_names]
    places = [rows.column_names.index(name) for name in key]
    return {k: row for row in zip(*columns, strict=True) if (k := tuple(row[place] for place in places)) not in drop}
