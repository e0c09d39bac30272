"""`backup-pipeline restore`: a backup, or some of its tables, back into a database."""

from __future__ import annotations

from backup_pipeline.cli.opened import opened
from backup_pipeline.cli.options import FromStore, LedgerReason, OfCatalog, PerhapsBackup, PlanAsJson
from backup_pipeline.cli.restore_options import (
    Ask,
    DryRun,
    Fills,
    How,
    IntoSchema,
    NoSafetyBackup,
    Order,
    Renames,
    RequestNumber,
    Tables,
    TargetUrl,
    ToSource,
    TypedName,
    pairs,
    refuse_beside_request,
)
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.restoring import Mode, RestoreRequest


def restore(  # noqa: PLR0913  # options are arguments to Typer
    backup: PerhapsBackup = None,
    *,
    table: Tables = None,
    target_url: TargetUrl = None,
    to_source: ToSource = False,
    mode: How = None,
    into_schema: IntoSchema = None,
    rename: Renames = None,
    fill: Fills = None,
    dry_run: DryRun = False,
    ask: Ask = False,
    confirm: TypedName = None,
    reason: LedgerReason = "",
    no_safety_backup: NoSafetyBackup = False,
    request: RequestNumber = None,
    store: FromStore = "first",
    catalog: OfCatalog = None,
    as_json: PlanAsJson = False,
) -> None:
    """Restore a backup, or some tables of it, into a database: first the plan, then one transaction or nothing.

    The plan says for each table what will happen, how many rows are there now and will be then, what is kept, and what
    speaks against it. A refusal keeps everything from being touched, and says the way out. Where rows that are there
    can change (upsert, replace), the database's name has to be typed, and those tables are backed up first. Whatever
    goes wrong, also a lost connection or Ctrl-C, the target is as it was.

    A target has to be named: --target-url or --to-source. Only the chosen tables are fetched from the store, or with
    `--store second` from the copy there, also when the request is performed later; a safety backup goes to the first
    store always. Every request has a row in the ledger: `restores` lists them. Where BACKUP_RESTORE_APPROVAL is on,
    another person has to approve it before `restore --request N` performs it. --ask makes a request and its plan, and
    performs nothing: so Dagster's restore job is given its work, which performs what was approved and nothing else.

    Examples:

        backup-pipeline restore latest -T customers --to-source --mode upsert --dry-run

        backup-pipeline restore latest --target-url postgresql://app@db/isp_new --reason "moving"

        backup-pipeline restore latest -T payments --to-source --into-schema rescued

        backup-pipeline restore latest -T payments --to-source --mode replace --confirm isp --reason "wrong UPDATE"

        backup-pipeline restore latest -T payments --to-source --mode replace --ask --reason "wrong UPDATE"

    Exit codes: 0 restored, asked for (--ask), or the plan has no refusal (--dry-run); 1 failed, the target is as it
    was; 2 wrong request; 10 no such backup or request; 11 another restore runs on the target, or somebody keeps a table
    of it; 12 no key opens the encrypted backup; 20 the stored bytes are damaged; 21 refused, not confirmed or not
    approved, nothing was touched; 130 stopped, the target is as it was.
    """
    from backup_pipeline.cli.restoring import carry_out

    wish = RestoreRequest(
        backup_id=backup or "",
        tables=tuple(dict.fromkeys(table or ())),
        mode=mode or Mode.NEW,
        into_schema=into_schema,
        rename=pairs("--rename", rename or [], "old=new"),
        fill=pairs("--fill", fill or [], "table.column=value"),
        confirm=confirm,
        reason=reason,
    )
    if request is not None:
        refuse_beside_request(
            {"ID": backup, "--table": table, "--mode": mode, "--into-schema": into_schema, "--rename": rename}
            | {"--fill": fill, "--reason": reason, "--no-safety-backup": no_safety_backup, "--catalog": catalog}
            | {"--store": store if store != "first" else None, "--ask": ask}
        )
    elif not backup:
        message = "Which backup is to be restored?"
        raise UsageError(message, do="Give its id, or `latest`; `backup-pipeline list` shows them.")
    if ask and (dry_run or confirm):
        message = f"--ask can not go with {'--dry-run' if dry_run else '--confirm'}."
        raise UsageError(message, do="Leave it out: the approval confirms the plan, and --ask shows it.")
    order = Order(wish, catalog, request, target_url, to_source, not no_safety_backup, dry_run, as_json, store, ask)
    with opened(catalog) as at:
        carry_out(at, order)
