"""The plan of a restore: from the manifest, the DDL and what the target has now, to every decision with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backup_pipeline.core.manifest import Manifest
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.restore_broken import broken_keys, broken_remarks, with_broken_keys
from backup_pipeline.core.restore_ddl import beside, schema_of, whole_schema
from backup_pipeline.core.restore_entries import Entry
from backup_pipeline.core.restore_functions import reads_of, search_path
from backup_pipeline.core.restore_other_sequences import other_sequences
from backup_pipeline.core.restore_plain import plain_remarks, plain_table
from backup_pipeline.core.restore_references import in_order, reference_remarks
from backup_pipeline.core.restore_roles import create_roles_sql, roles_of
from backup_pipeline.core.restore_selection import Place, chosen, place, shared
from backup_pipeline.core.restore_tables import Basis, decide
from backup_pipeline.core.restore_target import TargetFacts
from backup_pipeline.core.restoring import (
    Mode,
    Name,
    Remark,
    RestorePlan,
    SchemaSteps,
    Severity,
    TableRestore,
)

_CHANGING = {Mode.UPSERT, Mode.REPLACE}


def plan(basis: Basis, target_url: str, spool_free: int | None = None) -> RestorePlan:
    """The plan. `spool_free` are the bytes free where the backup's files are put before they are loaded.

    NotFoundError and UsageError when the request names what the backup has not.
    """
    amended = with_broken_keys(basis.dump, basis.manifest) if basis.dump else None
    basis = replace(basis, dump=amended.dump if amended else None)
    places, views = _places(basis)
    decided = [decide(one, basis) for one in places]
    entries = {one.entry.name: one.entry for one in places}
    chosen_tables = [table for table, _ in decided]
    tables = in_order(chosen_tables, entries, reads_of(chosen_tables, basis.dump))
    steps, about_steps = _steps(places, basis)
    changing = basis.request.mode in _CHANGING and any(table.rows_now for table in tables)
    if amended and amended.lost and basis.request.mode is Mode.NEW:
        steps = replace(steps, left_out=(*steps.left_out, *amended.lost))
    sequences, about_sequences = other_sequences(basis, steps)
    broken = broken_keys(basis.manifest, tables)
    path, about_path = search_path(tables, steps, basis.dump, basis.facts)
    made = RestorePlan(
        request=basis.request,
        backup_id=basis.manifest.backup_id,
        catalog=basis.manifest.catalog,
        snapshot_at=basis.manifest.snapshot.taken_at,
        target=target_url,
        database=basis.facts.database,
        tables=tables,
        remarks=(),
        confirm_name=basis.facts.database if changing else None,
        safety_backup=changing,
        steps=steps,
        sequences=sequences,
        broken=broken,
        search_path=path,
    )
    remarks = (
        *_of_target(made, basis),
        *_of_backup(basis.manifest, tables),
        *_of_room(made, spool_free),
        *views,
        *_of_shared(places, basis),
        *(remark for _, remarks in decided for remark in remarks),
        *reference_remarks(basis.facts, tables),
        *about_steps,
        *about_sequences,
        *broken_remarks(broken),
        *about_path,
    )
    return replace(made, remarks=tuple(sorted(remarks, key=_weight)))


def _weight(remark: Remark) -> int:
    """Refusals come first, then warnings."""
    return -list(Severity).index(remark.severity)


def _places(basis: Basis) -> tuple[tuple[Place, ...], list[Remark]]:
    """Where each table goes; views that hold no rows of their own are left out, unless somebody named them."""
    found = [place(entry, basis.request, basis.facts, basis.dump) for entry in chosen(basis.manifest, basis.request)]
    views = {RelationKind.VIEW, RelationKind.MATERIALIZED}
    skipped = [one for one in found if one.obstacle and not basis.request.tables and one.entry.relation_kind in views]
    remarks = [
        Remark(Severity.INFO, f"{one.obstacle}: it holds no rows of its own, so none are restored.", one.entry.name)
        for one in skipped
    ]
    return tuple(one for one in found if one not in skipped), remarks


def _steps(places: tuple[Place, ...], basis: Basis) -> tuple[SchemaSteps, list[Remark]]:
    if basis.request.mode is not Mode.NEW:
        return SchemaSteps(), []
    moved = [one for one in places if one.moved]
    made = [one.target for one in places if not one.moved and not one.obstacle]
    whole = not (basis.request.tables or basis.request.moves) and basis.manifest.kind == "full"
    steps, remarks = SchemaSteps(), list[Remark]()
    if basis.dump and made:
        everything = whole and basis.facts.empty
        owners = frozenset(one.entry.extension for one in places if one.entry.extension)
        if everything:
            steps = whole_schema(made, basis.dump, basis.facts)
        else:
            steps = schema_of(made, basis.dump, basis.facts, owners)
        remarks = list(_of_schema(steps, basis, made, whole=whole))
    defined = {entry.tag for entry in basis.dump.entries if entry.kind == "SCHEMA"} if basis.dump and made else set()
    wanted = {one.target[0] for one in places if one.moved or not one.entry.extension}
    missing = wanted - basis.facts.schemas - defined
    plain = tuple(plain_table(one.entry, one.target, basis.facts) for one in moved)
    remarks += [remark for one in moved for remark in plain_remarks(one.entry, one.target, basis.facts)]
    remarks += list(_of_creating({one.target[0] for one in places}, missing, basis))
    return replace(steps, plain=plain, schemas=tuple(sorted(missing))), remarks


def _of_schema(steps: SchemaSteps, basis: Basis, made: list[Name], *, whole: bool) -> Iterator[Remark]:
    for reason in steps.left_out:
        yield Remark(Severity.WARNING, f"Left out of the definitions: {reason}.")
    yield from _of_roles(steps, basis)
    yield from _of_extensions(steps, basis)
    if whole and not basis.facts.empty and basis.dump:
        rest = ", ".join(beside(basis.dump, steps))
        what = "The database is not empty, so only the tables and what they need are made"
        yield Remark(Severity.WARNING, f"{what}; not made: {rest}." if rest else f"{what}.")
    if whole and basis.facts.empty and basis.dump:
        yield from _of_empty_tables(basis, made)
    if steps.refreshed:
        names = ", ".join(".".join(name) for name in steps.refreshed)
        yield Remark(Severity.INFO, f"Materialized views are filled from the restored rows: {names}.")


def _of_roles(steps: SchemaSteps, basis: Basis) -> Iterator[Remark]:
    """The roles that definitions name and the server lacks."""
    run = {*steps.before, *steps.after}
    named = roles_of(entry for entry in basis.dump.entries if entry.sql in run) if basis.dump else frozenset()
    if basis.facts.roles is not None and (missing := named - basis.facts.roles):
        what = f"Policies of the backup name roles that the target's server lacks: {', '.join(sorted(missing))}."
        yield basis.refusal(None, what, f"Make them first: {create_roles_sql(missing)} Then plan again.")


def _of_extensions(steps: SchemaSteps, basis: Basis) -> Iterator[Remark]:
    """Extensions that the server can not make, or that are there in another schema than the definitions name."""
    run = {*steps.before, *steps.after}
    made = (
        [entry for entry in basis.dump.entries if entry.kind == "EXTENSION" and entry.sql in run] if basis.dump else []
    )
    facts = basis.facts
    lacking = sorted(entry.tag for entry in made if facts.available is not None and entry.tag not in facts.available)
    if lacking:
        what = f"The definitions want extensions that the target's server has not got: {', '.join(lacking)}."
        do = "Install them there; or restore tables that do without with --table, or elsewhere with --rename."
        yield basis.refusal(None, what, do)
    for entry in basis.dump.entries if basis.dump else ():
        home = facts.homes.get(entry.tag) if entry.kind == "EXTENSION" else None
        if home is not None and entry.home is not None and home != entry.home and _needs_home(entry, run, basis):
            what = f"Extension {entry.tag} is in schema {home} of the target, and in {entry.home} of the definitions."
            do = f"ALTER EXTENSION {entry.tag} SET SCHEMA {entry.home}, or drop it there: the restore makes it."
            yield basis.refusal(None, what, do)


def _needs_home(extension: Entry, run: set[str], basis: Basis) -> bool:
    """Whether definitions that are run name something in the extension's schema that nobody else makes there."""
    entries = basis.dump.entries if basis.dump else ()
    there = basis.facts.types | basis.facts.functions | basis.facts.taken | {entry.defines for entry in entries}
    named = {name for entry in entries if entry.sql in run for name in entry.mentions if name not in there}
    return extension.sql in run or any(schema == extension.home for schema, _ in named)


def _of_empty_tables(basis: Basis, made: list[Name]) -> Iterator[Remark]:
    """Tables that the definitions make and the backup has no rows for."""
    dump = basis.dump
    tables = set(dump.tables) - dump.parts.keys() - set(made) if dump else set()
    reasons = {found.table: found.reason for found in basis.manifest.excluded}
    for name in sorted(tables):
        full = ".".join(name)
        reason = reasons.get(full) or reasons.get(name[1])
        if reason:
            yield Remark(Severity.INFO, f"{full} is made empty: it is excluded from the backup ({reason}).")
        else:
            yield Remark(Severity.WARNING, f"{full} is made empty: the backup has no rows of it.")


def _of_creating(schemas: set[str], missing: set[str], basis: Basis) -> Iterator[Remark]:
    facts = basis.facts
    what = f"What is made belongs to role {facts.role}: owners and privileges (GRANT) are not in a backup."
    yield Remark(Severity.WARNING, what, do="Make them again, as your application's set-up does.")
    if missing and not facts.may_create_schemas:
        what = f"Role {facts.role} may not create schema {', '.join(sorted(missing))}."
        yield basis.refusal(None, what, f"GRANT CREATE ON DATABASE {facts.database} TO {facts.role}, or create it.")
    for schema in sorted((schemas & facts.schemas) - facts.creatable):
        what = f"Role {facts.role} may not create tables in schema {schema}."
        yield basis.refusal(None, what, f"GRANT CREATE ON SCHEMA {schema} TO {facts.role}, or connect as its owner.")


def _of_rights(facts: TargetFacts) -> Iterator[Remark]:
    """A restore runs code: functions in defaults, checks, triggers and indexes, the backup's and the target's."""
    if not facts.superuser:
        return
    if facts.superuser == facts.role:
        what = (
            f"Role {facts.superuser} is a superuser: functions of the backup and of the target, in defaults, checks, "
            "triggers and indexes, run with all its rights, over the server's files and programs too."
        )
        do = "Connect as the role that owns the tables, or name it in BACKUP_RESTORE_ROLE."
    else:
        what = (
            f"The restore works as role {facts.role}, but role {facts.superuser}, which logged in, is a superuser: "
            "hostile functions of the backup could take its rights back (RESET ROLE)."
        )
        do = f"Where the backup's source is not trusted, connect as role {facts.role} itself."
    yield Remark(Severity.WARNING, what, do=do)


def _of_target(made: RestorePlan, basis: Basis) -> Iterator[Remark]:
    facts = basis.facts
    yield from _of_rights(facts)
    if not made.tables:
        yield basis.refusal(None, "There is no table to restore.", "Name tables of the backup that hold rows.")
    if facts.read_only:
        yield basis.refusal(None, f"Nothing can be written to {facts.database}: {facts.read_only}.", "Use the primary.")
    staged = any(table.rows_now for table in made.tables)
    if staged and not facts.may_stage:
        what = f"Role {facts.role} may not make temporary tables, into which rows are loaded first."
        yield basis.refusal(None, what, f"GRANT TEMPORARY ON DATABASE {facts.database} TO {facts.role}.")
    source, target = _major(basis.manifest.snapshot.server_version), _major(facts.server_version)
    if target < source:
        what = (
            f"The target runs PostgreSQL {target}, the backup comes from {source}: definitions may not be understood."
        )
        yield Remark(Severity.WARNING, what)


def _of_backup(manifest: Manifest, tables: tuple[TableRestore, ...]) -> Iterator[Remark]:
    if not manifest.consistent and len(tables) > 1:
        what = "The backup's tables show different instants: rows may refer to rows that are not in it."
        yield Remark(Severity.WARNING, what, do="Where they do, the restore stops and changes nothing.")
    if manifest.format_version == "1.0":
        what = "The backup is of format 1.0: it does not record sequences, which continue after the largest value."
        yield Remark(Severity.INFO, what)
    for found in manifest.not_held:
        severity = Severity.WARNING if found.severity == "warning" else Severity.INFO
        yield Remark(severity, f"Not in the backup, as it was made: {found.message}", do=found.do)
    told = {found.message for found in manifest.not_held}
    yield from (Remark(Severity.INFO, f"The backup said: {text}") for text in manifest.warnings if text not in told)


def _of_room(made: RestorePlan, spool_free: int | None) -> Iterator[Remark]:
    if spool_free is not None and made.bytes > spool_free:
        what = f"The files take {made.bytes:,} bytes here before they are loaded; {spool_free:,} are free."
        yield Remark(Severity.REFUSAL, what, do="Make room, or set BACKUP_WORK_DIR to a larger disk.")
    rows = sum(table.rows_in_backup for table in made.tables)
    what = f"PostgreSQL does not tell how much disk is free there; {rows:,} rows come, {made.bytes:,} bytes of Parquet."
    yield Remark(Severity.INFO, what)


def _of_shared(places: tuple[Place, ...], basis: Basis) -> Iterator[Remark]:
    for target, names in shared(places):
        what = f"{' and '.join(names)} would both go into {'.'.join(target)}."
        yield basis.refusal(None, what, "Restore one of them with --table, or give one another name with --rename.")


def _major(version: str) -> int:
    digits = version.split(".")[0].strip()
    return int("".join(c for c in digits if c.isdigit())[:2] or 0)
