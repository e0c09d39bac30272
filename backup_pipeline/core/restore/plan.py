"""The plan of a restore: each table decided, in the order of their references, and what speaks against it.

Foreign keys that rows of the source itself break are NOT VALID afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from backup_pipeline.core.comparison import pointings
from backup_pipeline.core.manifest import Manifest, TableEntry
from backup_pipeline.core.names import Kind
from backup_pipeline.core.relations import RelationKind
from backup_pipeline.core.restore import (
    Action,
    BrokenKey,
    Mode,
    Name,
    RemarkSeverity,
    RestorePlan,
    RestoreRemark,
    SchemaSteps,
    TableRestore,
    TargetFacts,
    TargetReference,
)
from backup_pipeline.core.restore.columns import plain_remarks, plain_table
from backup_pipeline.core.restore.ddl import (
    beside,
    create_roles_sql,
    other_sequences,
    reads_of,
    roles_of,
    schema_of,
    search_path,
    whole_schema,
)
from backup_pipeline.core.restore.dump import Dump, DumpEntry
from backup_pipeline.core.restore.tables import Place, TablesBasis, chosen, decide, place, shared, source_of

_NOT_VALID = " NOT VALID"


@dataclass(frozen=True)
class _Amended:
    """The definitions in which broken keys are NOT VALID; `lost` can not be so: of partitioned tables."""

    dump: Dump
    lost: tuple[str, ...] = ()


def broken_warnings(broken: Mapping[str, int]) -> Iterator[str]:
    """What a backup says of keys that its source breaks."""
    for reference, rows in broken.items():
        yield (
            f"The source itself breaks a foreign key: {rows:,} rows of {reference} refer to no row. The backup has "
            "them as they are; a restore makes the key NOT VALID."
        )


def broken_keys(manifest: Manifest, tables: Sequence[TableRestore]) -> tuple[BrokenKey, ...]:
    """Those between `tables` that rows of the backup break, in the names of the target."""
    names = {table.name: table.target for table in tables}
    keys = (key for key in pointings(manifest, list(names)) if str(key) in manifest.broken and key.target in names)
    return tuple(BrokenKey(names[key.table], key.columns, names[key.target], manifest.broken[str(key)]) for key in keys)


def with_broken_keys(dump: Dump, manifest: Manifest) -> _Amended:
    """The definitions with every broken key as NOT VALID; doing it twice does no more."""
    if not manifest.broken:
        return _Amended(dump)
    sources = {entry.name: source_of(entry) for entry in manifest.tables}
    keys = [key for key in pointings(manifest, list(sources)) if str(key) in manifest.broken]
    broken = {(sources[key.table], key.columns, sources[key.target]) for key in keys if key.target in sources}
    partitioned = set(dump.parts.values())
    entries, lost = [], []
    for entry in dump.entries:
        if not _is_broken(entry, broken, dump):
            entries.append(entry)
        elif entry.belongs_to in partitioned:
            lost.append(
                f"fk constraint {entry.tag}: rows of the source break it, and in a partitioned table none is NOT VALID"
            )
        else:
            entries.append(replace(entry, sql=_not_valid(entry.sql)))
    return _Amended(Dump(tuple(entries), dump.left_out), tuple(lost))


def broken_remarks(broken: Sequence[BrokenKey]) -> Iterator[RestoreRemark]:
    """What a plan and a report say of them."""
    for key in broken:
        child, parent = ".".join(key.child), ".".join(key.parent)
        what = (
            f"The foreign key of {child} ({', '.join(key.columns)}) to {parent} is NOT VALID afterwards, or left out "
            f"of a partitioned table: {key.rows:,} rows of the backup break it, as they did in the source."
        )
        do = f"Settle those rows, then: ALTER TABLE {child} VALIDATE CONSTRAINT …"
        yield RestoreRemark(RemarkSeverity.WARNING, what, do=do)


def _is_broken(entry: DumpEntry, broken: set[tuple[Name, tuple[str, ...], Name]], dump: Dump) -> bool:
    if entry.kind != "FK CONSTRAINT" or entry.belongs_to is None or entry.parent is None:
        return False
    family = {entry.belongs_to, *_wholes(entry.belongs_to, dump)}
    return any((child, _columns(entry), entry.parent) in broken for child in family)


def _wholes(part: Name, dump: Dump) -> Iterator[Name]:
    """The partitioned tables that a table is a part of."""
    while part in dump.parts:
        part = dump.parts[part]
        yield part


def _columns(entry: DumpEntry) -> tuple[str, ...]:
    """The columns of the key: what stands in the first parentheses behind FOREIGN KEY."""
    tokens = entry.tokens
    index = next((index for index, token in enumerate(tokens) if token.is_word("FOREIGN")), len(tokens))
    texts = [token.text for token in tokens[index + 2 :]]
    inside = texts[1 : texts.index(")")] if ")" in texts else []
    return tuple(text for text in inside if text != ",")


def _not_valid(sql: str) -> str:
    """The statement with NOT VALID at its end."""
    bare = sql.rstrip().removesuffix(";").rstrip()
    return sql if bare.upper().endswith("NOT VALID") else f"{bare}{_NOT_VALID};"


_CHANGING = {Action.UPSERT, Action.REPLACE}


def in_order(
    tables: Sequence[TableRestore], entries: Mapping[str, TableEntry], reads: Mapping[str, set[str]] | None = None
) -> tuple[TableRestore, ...]:
    """The tables, what is referred to before what refers to it, as far as there is no circle.

    `reads` are further tables that must have their rows before a table.
    """
    by_source = {table.source: table.name for table in tables}
    needs = {
        table.name: {
            by_source[reference.target]
            for reference in entries[table.name].references
            if reference.target in by_source and by_source[reference.target] != table.name
        }
        | (reads or {}).get(table.name, set())
        for table in tables
    }
    order = _sorted(needs)
    return tuple(sorted(tables, key=lambda table: order.index(table.name)))


def _sorted(needs: dict[str, set[str]]) -> list[str]:
    """Names by their needs; of a circle one need is dropped at a time. The same in every process: sets are sorted."""
    while True:
        try:
            return list(TopologicalSorter({name: sorted(of) for name, of in needs.items()}).static_order())
        except CycleError as error:
            circle: list[str] = error.args[1]
            needs[circle[1]].discard(circle[0])


def inside(facts: TargetFacts, targets: set[Name]) -> list[TargetReference]:
    """The foreign keys between tables of the restore, which are made anew when all rows are in place."""
    return [reference for reference in facts.references if reference.child in targets and reference.parent in targets]


def inbound(facts: TargetFacts, targets: set[Name]) -> list[TargetReference]:
    """The foreign keys of other tables to tables of the restore."""
    return [
        reference for reference in facts.references if reference.child not in targets and reference.parent in targets
    ]


def outbound(facts: TargetFacts, targets: set[Name]) -> list[TargetReference]:
    """The foreign keys of tables of the restore to other tables."""
    return [
        reference for reference in facts.references if reference.child in targets and reference.parent not in targets
    ]


def reference_remarks(facts: TargetFacts, tables: Sequence[TableRestore]) -> Iterator[RestoreRemark]:
    """What has to be said about foreign keys of tables that are there already."""
    by_target = {table.target: table for table in tables if table.action is not Action.CREATE}
    targets = set(by_target)
    for reference in inside(facts, targets):
        for name in {reference.child, reference.parent}:
            relation = facts.relations.get(name)
            if relation is not None and not relation.owned:
                what = (
                    f"Foreign key {reference.name} is made anew after the rows; only the owner of {'.'.join(name)} may."
                )
                yield RestoreRemark(
                    RemarkSeverity.REFUSAL, what, by_target[name].name, "Connect as the owner of the tables."
                )
    for reference in outbound(facts, targets):
        parent = ".".join(reference.parent)
        what = f"{'.'.join(reference.child)} refers to {parent}, which is not restored: its rows must be there."
        do = f"A row that refers to a missing one stops the restore; add --table for {parent} then."
        yield RestoreRemark(RemarkSeverity.INFO, what, by_target[reference.child].name, do)
    for reference in inbound(facts, targets):
        table = by_target[reference.parent]
        if table.action in _CHANGING and table.rows_now:
            child = ".".join(reference.child)
            what = f"{child} refers to {table.target_name} (ON DELETE {reference.on_delete}), and is not restored."
            do = "If one of its rows would lose what it refers to, the restore stops and changes nothing."
            yield RestoreRemark(RemarkSeverity.INFO, what, table.name, do)


_CHANGING_MODES = {Mode.UPSERT, Mode.REPLACE}


def plan(basis: TablesBasis, target_url: str, spool_free: int | None = None) -> RestorePlan:
    """The plan. `spool_free` are the bytes free where the backup's files are put before they are loaded.

    NotFoundError and UsageError when the request names what the backup has not.
    """
    amended = with_broken_keys(basis.dump, basis.manifest) if basis.dump else None
    basis = replace(basis, dump=amended.dump if amended else None)
    places, views = _places(basis)
    decided = [decide(place, basis) for place in places]
    entries = {place.entry.name: place.entry for place in places}
    chosen_tables = [table for table, _ in decided]
    tables = in_order(chosen_tables, entries, reads_of(chosen_tables, basis.dump))
    steps, about_steps = _steps(places, basis)
    changing = basis.request.mode in _CHANGING_MODES and any(table.rows_now for table in tables)
    if amended and amended.lost and basis.request.mode is Mode.NEW:
        steps = replace(steps, left_out=(*steps.left_out, *amended.lost))
    sequences, about_sequences = other_sequences(basis, steps)
    broken = broken_keys(basis.manifest, tables)
    path, about_path = search_path(tables, steps, basis.dump, basis.facts)
    undecided = RestorePlan(
        request=basis.request,
        backup_id=basis.manifest.backup_id,
        catalog=str(basis.manifest.scope),
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
        *_of_target(undecided, basis),
        *_of_backup(basis.manifest, tables),
        *_of_room(undecided, spool_free),
        *views,
        *_of_shared(places, basis),
        *(remark for _, remarks in decided for remark in remarks),
        *reference_remarks(basis.facts, tables),
        *about_steps,
        *about_sequences,
        *broken_remarks(broken),
        *about_path,
    )
    return replace(undecided, remarks=tuple(sorted(remarks, key=_weight)))


def _weight(remark: RestoreRemark) -> int:
    """Refusals come first, then warnings."""
    return -list(RemarkSeverity).index(remark.severity)


def _places(basis: TablesBasis) -> tuple[tuple[Place, ...], list[RestoreRemark]]:
    """Where each table goes; views that hold no rows of their own are left out, unless somebody named them."""
    every = [place(entry, basis.request, basis.facts, basis.dump) for entry in chosen(basis.manifest, basis.request)]
    views = {RelationKind.VIEW, RelationKind.MATERIALIZED}
    skipped = [
        place for place in every if place.obstacle and not basis.request.tables and place.entry.relation_kind in views
    ]
    remarks = [
        RestoreRemark(
            RemarkSeverity.INFO,
            f"{place.obstacle}: it holds no rows of its own, so none are restored.",
            place.entry.name,
        )
        for place in skipped
    ]
    return tuple(place for place in every if place not in skipped), remarks


def _steps(places: tuple[Place, ...], basis: TablesBasis) -> tuple[SchemaSteps, list[RestoreRemark]]:
    if basis.request.mode is not Mode.NEW:
        return SchemaSteps(), []
    moved = [place for place in places if place.moved]
    created = [place.target for place in places if not place.moved and not place.obstacle]
    whole = not (basis.request.tables or basis.request.moves) and basis.manifest.kind is Kind.FULL
    steps, remarks = SchemaSteps(), list[RestoreRemark]()
    if basis.dump and created:
        everything = whole and basis.facts.empty
        owners = frozenset(place.entry.extension for place in places if place.entry.extension)
        if everything:
            steps = whole_schema(created, basis.dump, basis.facts)
        else:
            steps = schema_of(created, basis.dump, basis.facts, owners)
        remarks = list(_of_schema(steps, basis, created, whole=whole))
    defined = {entry.tag for entry in basis.dump.entries if entry.kind == "SCHEMA"} if basis.dump and created else set()
    wanted = {place.target[0] for place in places if place.moved or not place.entry.extension}
    missing = wanted - basis.facts.schemas - defined
    plain = tuple(plain_table(place.entry, place.target, basis.facts) for place in moved)
    remarks += [remark for place in moved for remark in plain_remarks(place.entry, place.target, basis.facts)]
    remarks += list(_of_creating({place.target[0] for place in places}, missing, basis))
    return replace(steps, plain=plain, schemas=tuple(sorted(missing))), remarks


def _of_schema(steps: SchemaSteps, basis: TablesBasis, created: list[Name], *, whole: bool) -> Iterator[RestoreRemark]:
    for reason in steps.left_out:
        yield RestoreRemark(RemarkSeverity.WARNING, f"Left out of the definitions: {reason}.")
    yield from _of_roles(steps, basis)
    yield from _of_extensions(steps, basis)
    if whole and not basis.facts.empty and basis.dump:
        rest = ", ".join(beside(basis.dump, steps))
        what = "The database is not empty, so only the tables and what they need are made"
        yield RestoreRemark(RemarkSeverity.WARNING, f"{what}; not made: {rest}." if rest else f"{what}.")
    if whole and basis.facts.empty and basis.dump:
        yield from _of_empty_tables(basis, created)
    if steps.refreshed:
        names = ", ".join(".".join(name) for name in steps.refreshed)
        yield RestoreRemark(RemarkSeverity.INFO, f"Materialized views are filled from the restored rows: {names}.")


def _of_roles(steps: SchemaSteps, basis: TablesBasis) -> Iterator[RestoreRemark]:
    """The roles that definitions name and the server lacks."""
    run = {*steps.before, *steps.after}
    named = roles_of(entry for entry in basis.dump.entries if entry.sql in run) if basis.dump else frozenset()
    if basis.facts.roles is not None and (missing := named - basis.facts.roles):
        what = f"Policies of the backup name roles that the target's server lacks: {', '.join(sorted(missing))}."
        yield basis.refusal(None, what, f"Make them first: {create_roles_sql(missing)} Then plan again.")


def _of_extensions(steps: SchemaSteps, basis: TablesBasis) -> Iterator[RestoreRemark]:
    """Extensions that the server can not make, or that are there in another schema than the definitions name."""
    run = {*steps.before, *steps.after}
    created = (
        [entry for entry in basis.dump.entries if entry.kind == "EXTENSION" and entry.sql in run] if basis.dump else []
    )
    facts = basis.facts
    lacking = sorted(entry.tag for entry in created if facts.available is not None and entry.tag not in facts.available)
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


def _needs_home(extension: DumpEntry, run: set[str], basis: TablesBasis) -> bool:
    """Whether definitions that are run name something in the extension's schema that nobody else makes there."""
    entries = basis.dump.entries if basis.dump else ()
    there = basis.facts.types | basis.facts.functions | basis.facts.taken | {entry.defines for entry in entries}
    named = {name for entry in entries if entry.sql in run for name in entry.mentions if name not in there}
    return extension.sql in run or any(schema == extension.home for schema, _ in named)


def _of_empty_tables(basis: TablesBasis, created: list[Name]) -> Iterator[RestoreRemark]:
    """Tables that the definitions make and the backup has no rows for."""
    dump = basis.dump
    tables = set(dump.tables) - dump.parts.keys() - set(created) if dump else set()
    reasons = {table.table: table.reason for table in basis.manifest.excluded}
    for name in sorted(tables):
        full = ".".join(name)
        reason = reasons.get(full) or reasons.get(name[1])
        if reason:
            yield RestoreRemark(
                RemarkSeverity.INFO, f"{full} is made empty: it is excluded from the backup ({reason})."
            )
        else:
            yield RestoreRemark(RemarkSeverity.WARNING, f"{full} is made empty: the backup has no rows of it.")


def _of_creating(schemas: set[str], missing: set[str], basis: TablesBasis) -> Iterator[RestoreRemark]:
    facts = basis.facts
    what = f"What is made belongs to role {facts.role}: owners and privileges (GRANT) are not in a backup."
    yield RestoreRemark(RemarkSeverity.WARNING, what, do="Make them again, as your application's set-up does.")
    if missing and not facts.may_create_schemas:
        what = f"Role {facts.role} may not create schema {', '.join(sorted(missing))}."
        yield basis.refusal(None, what, f"GRANT CREATE ON DATABASE {facts.database} TO {facts.role}, or create it.")
    for schema in sorted((schemas & facts.schemas) - facts.creatable):
        what = f"Role {facts.role} may not create tables in schema {schema}."
        yield basis.refusal(None, what, f"GRANT CREATE ON SCHEMA {schema} TO {facts.role}, or connect as its owner.")


def _of_rights(facts: TargetFacts) -> Iterator[RestoreRemark]:
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
    yield RestoreRemark(RemarkSeverity.WARNING, what, do=do)


def _of_target(plan: RestorePlan, basis: TablesBasis) -> Iterator[RestoreRemark]:
    facts = basis.facts
    yield from _of_rights(facts)
    if not plan.tables:
        yield basis.refusal(None, "There is no table to restore.", "Name tables of the backup that hold rows.")
    yield from _of_business(plan.tables, basis)
    if facts.read_only:
        yield basis.refusal(None, f"Nothing can be written to {facts.database}: {facts.read_only}.", "Use the primary.")
    staged = any(table.rows_now for table in plan.tables)
    if staged and not facts.may_stage:
        what = f"Role {facts.role} may not make temporary tables, into which rows are loaded first."
        yield basis.refusal(None, what, f"GRANT TEMPORARY ON DATABASE {facts.database} TO {facts.role}.")
    source, target = _major(basis.manifest.snapshot.server_version), _major(facts.server_version)
    if target < source:
        what = (
            f"The target runs PostgreSQL {target}, the backup comes from {source}: definitions may not be understood."
        )
        yield RestoreRemark(RemarkSeverity.WARNING, what)


def _of_business(tables: tuple[TableRestore, ...], basis: TablesBasis) -> Iterator[RestoreRemark]:
    """A backup of one business must not stand in the place of the rows of all."""
    manifest = basis.manifest
    if manifest.kind is Kind.INCREMENTAL:
        what = "The backup has nothing but what changed of a business since the one before it."
        yield basis.refusal(None, what, "Restore the business as it was: `backup-pipeline businesses restore`.")
    elif manifest.business and basis.request.mode is Mode.REPLACE and any(table.rows_now for table in tables):
        what = f"The backup has the rows of business {manifest.business} alone; replacing would remove those of others."
        yield basis.refusal(None, what, "Restore the business as it was: `backup-pipeline businesses restore`.")


def _of_backup(manifest: Manifest, tables: tuple[TableRestore, ...]) -> Iterator[RestoreRemark]:
    if not manifest.consistent and len(tables) > 1:
        what = "The backup's tables show different instants: rows may refer to rows that are not in it."
        yield RestoreRemark(RemarkSeverity.WARNING, what, do="Where they do, the restore stops and changes nothing.")
    if manifest.format_version == "1.0":
        what = "The backup is of format 1.0: it does not record sequences, which continue after the largest value."
        yield RestoreRemark(RemarkSeverity.INFO, what)
    for missing in manifest.not_held:
        severity = RemarkSeverity.WARNING if missing.severity == "warning" else RemarkSeverity.INFO
        yield RestoreRemark(severity, f"Not in the backup, as it was made: {missing.message}", do=missing.do)
    messages = {missing.message for missing in manifest.not_held}
    yield from (
        RestoreRemark(RemarkSeverity.INFO, f"The backup said: {text}")
        for text in manifest.warnings
        if text not in messages
    )


def _of_room(plan: RestorePlan, spool_free: int | None) -> Iterator[RestoreRemark]:
    if spool_free is not None and plan.bytes > spool_free:
        what = f"The files take {plan.bytes:,} bytes here before they are loaded; {spool_free:,} are free."
        yield RestoreRemark(RemarkSeverity.REFUSAL, what, do="Make room, or set BACKUP_WORK_DIR to a larger disk.")
    rows = sum(table.rows_in_backup for table in plan.tables)
    what = f"PostgreSQL does not tell how much disk is free there; {rows:,} rows come, {plan.bytes:,} bytes of Parquet."
    yield RestoreRemark(RemarkSeverity.INFO, what)


def _of_shared(places: tuple[Place, ...], basis: TablesBasis) -> Iterator[RestoreRemark]:
    for target, names in shared(places):
        what = f"{' and '.join(names)} would both go into {'.'.join(target)}."
        yield basis.refusal(None, what, "Restore one of them with --table, or give one another name with --rename.")


def _major(version: str) -> int:
    digits = version.split(".")[0].strip()
    return int("".join(c for c in digits if c.isdigit())[:2] or 0)
