"""`backup-pipeline rebuild` and `migrate-back`: the ledger made of the store's manifests, or of an earlier version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import (
    FromStore,
    Opened,
    PlanAsJson,
    check_known,
    invoked_settings,
    named_scope,
    print_json,
)
from backup_pipeline.core.errors import PartialError
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.restore import SECOND, Which
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console, result_console

if TYPE_CHECKING:
    from backup_pipeline.core.rebuild import RebuildPlan
    from backup_pipeline.operations.rebuild import RebuildReport

with lazily():
    from backup_pipeline import catalogs
    from backup_pipeline.ledger import migrate
    from backup_pipeline.operations import rebuild as operations_rebuild
    from backup_pipeline.presentation import health
    from backup_pipeline.wiring import embedded, stores
    from backup_pipeline.wiring import ports as wiring_ports


Accepted = Annotated[
    list[str] | None,
    typer.Option(help="Take the manifest of this backup for right, whatever the ledger says; several times."),
]


def rebuild(
    *,
    catalog: Annotated[str | None, typer.Option(help="Only this catalog; default: all that lie in the store.")] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Write it, rather than only say so.")] = False,
    accept: Accepted = None,
    store: FromStore = "first",
    as_json: PlanAsJson = False,
) -> None:
    """Make the ledger what the store is: show what would be written and why; with --confirm, write it.

    A backup whose manifest is in the store and that has no row gets one; a row that lacks what its manifest says is
    completed; a hold that lies in the store is put back; a row whose manifest is gone becomes deleted, and says that
    nobody removed it with this program. A row that agrees is never changed. A lost database is made anew, with its
    tables. An encrypted backup is known by its outline, without any key; with a key, its rows are counted too.

    Where row and manifest contradict each other, nothing is written: the ledger is what a store's owner can not change.
    With --accept ID you say that the manifest is right after all; its verification begins anew. The same for a backup
    without a seal that the ledger does not know, where a key for seals is set (docs/integrity.md). A seal that is not
    right is never accepted.

    What only the ledger knew is lost with it: who held a backup and why, how deep it was verified (the row says level
    0: run `verify`), restore requests, alerts, the audit, and runs that made no backup.

    Examples:

        backup-pipeline rebuild

        backup-pipeline rebuild --confirm

        backup-pipeline rebuild --store second --confirm

        backup-pipeline rebuild --accept 20261120T180000Z-full-1f3a9c2e --confirm

    Exit codes: 0 shown, or written; 1 store or ledger can not be read or written; 2 wrong request; 3 something can
    not be settled, and each is told; 10 there is no such catalog.
    """
    ids = [str(parse_backup_id(each)) for each in accept or ()]
    with embedded.empty_or_there(invoked_settings()) as settings, wiring_ports.open_ledger(settings) as ledger:
        ports = wiring_ports.ports_over(ledger, settings, store=store)
        request = _request(Opened(settings, ledger), catalog, ids, store)
        if catalog is not None and not any(ports.store.list(f"{request.scope.folder}/") if request.scope else ()):
            check_known(settings, ledger, catalog)
        plan = operations_rebuild.plan_rebuild(request, ports)
        if not as_json:
            draw(health.rebuild_document(plan))
        report = operations_rebuild.rebuild(plan, request, ports) if confirm else None
    if as_json:
        print_json({"plan": plan.as_json(), "report": report.as_json() if report else None})
    _end(plan, report, quiet=as_json)


def _request(
    installation: Opened, catalog: str | None, accepted: Sequence[str], store: Which
) -> operations_rebuild.RebuildRequest:
    return operations_rebuild.RebuildRequest(
        actor=installation.actor,
        scope=named_scope(catalog),
        catalogs=catalogs.load_catalogs(installation.settings.catalogs),
        from_second=store == SECOND,
        seals=bool(stores.open_seal_keys(installation.settings).accepted),
        accepted=frozenset(accepted),
    )


def _end(plan: RebuildPlan, report: RebuildReport | None, *, quiet: bool) -> None:
    """Say what was done, or what to do next; PartialError when something could not be settled."""
    if report is not None and not quiet:
        written = f"Rows written: {len(report.written)}; copies noted: {report.copies}."
        result_console().print(written, markup=False, soft_wrap=True)
    if report is None and not plan.empty and not quiet:
        note_console().print("Nothing was written. To do it: backup-pipeline rebuild --confirm", markup=False)
    if report is not None and report.moved:
        what = f"{len(report.moved)} rows were changed by somebody else meanwhile: {report.moved[0].backup_id}."
        raise PartialError(what, do="Run `backup-pipeline rebuild` once more.")
    if plan.problems:
        first = plan.problems[0]
        what = f"{len(plan.problems)} backups can not be settled. {first.backup_id}: {first.reason}."
        raise PartialError(what, do="Each is told above with what to do about it.")


def migrate_back(
    revision: Annotated[str, typer.Argument(help="The ledger's revision in that version: docs/upgrading.md has them.")],
    *,
    confirm: Annotated[bool, typer.Option("--confirm", help="Do it, rather than only try it.")] = False,
) -> None:
    """Bring the ledger's tables back to an earlier version of this program, before that version is installed again.

    Stop everything first: any command of this version that looks into the ledger brings it forward again. It is one
    transaction. Without --confirm it is done and undone, and tells which tables go with how many rows: what only the
    newer version wrote is lost. The backups in the store, and their rows, stay.

    Examples:

        backup-pipeline migrate-back r0010

        backup-pipeline migrate-back r0010 --confirm

    Exit codes: 0 done, or tried; 1 the ledger can not be changed, or somebody works in it; 2 there is no such revision
    before the ledger's.
    """
    with embedded.ledger_as_it_is(invoked_settings()) as url:
        migrated = migrate.migrate_back(url, revision, confirm=confirm)
    out = result_console()
    for name, rows in migrated.dropped.items():
        out.print(f"Goes: {name}, {rows:,} rows", markup=False, highlight=False)
    done = "is at" if confirm else "would be at"
    out.print(f"The ledger was at {migrated.before} and {done} {migrated.after}.", markup=False, highlight=False)
    if not confirm:
        again = f"Nothing was changed. To do it: backup-pipeline migrate-back {revision} --confirm"
        note_console().print(again, markup=False)
