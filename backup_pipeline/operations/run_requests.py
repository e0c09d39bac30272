"""Runs that people ask for: the row first, then the launch, never twice; followed to their end; told when none begins.

**Never twice.** A row is sent by whoever takes it, one at a time. After an answer that did not come, Dagster is asked
for a run with the row's tag before anything is sent again. Should a launch arrive late all the same, its run finds the
row claimed by the other one, and ends before it has touched anything (`claim_run`).
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from backup_pipeline.core.alerts import Alert, Severity
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.drill import Fault
from backup_pipeline.core.errors import (
    BackupError,
    DagsterAwayError,
    LaunchUnsureError,
    LedgerError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from backup_pipeline.core.layout import Rendering
from backup_pipeline.core.ledger import AuditEvent, Status
from backup_pipeline.core.legacy import LEGACY
from backup_pipeline.core.names import parse_backup_id
from backup_pipeline.core.ports import Ledger, Ports
from backup_pipeline.core.ports.runs import Launcher
from backup_pipeline.core.runs import (
    GIVEN_UP_AFTER,
    NOT_STARTED_AFTER,
    OPEN,
    JobOrder,
    RequestChange,
    RequestStatus,
    RunPhase,
    RunRequest,
    RunState,
    RunVerb,
    backup_steps,
    job_name,
    read_order,
    step_name,
)
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import Actor, Scope
from backup_pipeline.core.verification import Level
from backup_pipeline.operations.alerting import tell
from backup_pipeline.operations.browse import LATEST

logger = logging.getLogger(__name__)

AGAIN_AFTER = timedelta(seconds=60)
"""Not sent again before: whatever was on its way has arrived by then, and is found."""
LOOK_AFTER_S = (0.5, 1.5, 3.0)
_LEVELS = {level.name.lower(): level for level in (Level.PRESENT, Level.BYTES, Level.CONTENTS, Level.REFERENCES)}


@dataclass(frozen=True)
class RunWish:
    """What somebody wants: a verb, about a catalog, or one `business` of it, why. Sent twice, an `id` is one request.

    `detail` by verb: `tables` (tables), `late`, and `automatic` for one of the schedule's kind (backup, tables);
    `backup_id` (verify, drill, delete, render), `level` (verify), `inject` (drill), `request` and `dry_run` (restore),
    or `plan`, a RestoreWish, with its `command`; `dry_run` (prune), `confirm` (delete), `rendering` (render), `key`
    (adopt), `kind` (business).
    """

    id: UUID
    verb: RunVerb
    catalog: Catalog
    actor: Actor
    reason: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    business: str | None = None

    def text(self, name: str, default: str = "") -> str:
        """A text of the detail."""
        return str(self.detail.get(name) or default)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that are chosen, in the catalog's order; UsageError for one that is none of it."""
        chosen = self.detail.get("tables") or ()
        names = [str(name) for name in chosen] if isinstance(chosen, list | tuple) else [str(chosen)]
        if unknown := sorted(set(names) - set(self.catalog.tables)):
            message = f"Catalog {self.catalog.catalog} has no table {', '.join(unknown)}."
            raise UsageError(message, do=f"It has: {', '.join(self.catalog.tables)}.")
        return tuple(table for table in self.catalog.tables if table in names)

    @property
    def wants_plan_alone(self) -> bool:
        """Whether a restore is only to be planned, and nobody has asked for it yet: the run finds `plan` in the row."""
        return self.verb is RunVerb.RESTORE and "plan" in self.detail

    @property
    def backup_id(self) -> str:
        """The backup that it is about; UsageError for what is no id."""
        text = self.text("backup_id", LATEST)
        exact = self.verb is RunVerb.DELETE
        return LATEST if text == LATEST and not exact else str(parse_backup_id(text, latest=not exact))


def request_run(
    wish: RunWish, ports: Ports, launcher: Launcher, *, pause: Callable[[float], object] = time.sleep
) -> RunRequest:
    """Ask for a run: a row, an audit row, a launch; the row as it then stands.

    `launched` with its run; `refused` with the reason, and the command that does it without Dagster, when Dagster is
    away or says no; `requested` while nobody knows whether Dagster has it: `follow_requests` sees to that. UsageError,
    before anything was written, for a wish that can not be.
    """
    now = ports.clock()
    order = order_of(wish, now)
    row, new = ports.ledger.run_requests.add(
        RunRequest(
            id=wish.id,
            scope=Scope(wish.catalog.catalog, business=wish.business),
            verb=wish.verb,
            actor=wish.actor,
            created_at=now,
            reason=wish.reason,
            detail={**wish.detail, "order": order.as_json()},
            command=command_of(wish),
        )
    )
    if not new:
        return row
    known = {"verb": wish.verb.value, "catalog": wish.catalog.catalog, "reason": wish.reason, "request": str(wish.id)}
    backup_id = wish.text("backup_id")
    about = backup_id if backup_id not in {"", LATEST} else None
    ports.ledger.audit(AuditEvent(now, wish.actor, "run requested", about, known))
    return _send(row, ports, launcher, pause)


def _send(row: RunRequest, ports: Ports, launcher: Launcher, pause: Callable[[float], object]) -> RunRequest:
    """Launch the row's run, unless somebody else is at it; the row as it then stands."""
    requests = ports.ledger.run_requests
    if not requests.take(row.id, ports.clock(), AGAIN_AFTER):
        return requests.get(row.id) or row
    try:
        return _launch(row, ports, launcher)
    except LaunchUnsureError as unsure:
        return _looked_for(row, unsure, ports, launcher, pause)
    except (DagsterAwayError, RefusedError) as error:
        return _end(row, RequestStatus.REFUSED, error, ports)


def _launch(row: RunRequest, ports: Ports, launcher: Launcher) -> RunRequest:
    """The row with the run that Dagster has launched for it."""
    run_id = launcher.launch(read_order(row.detail["order"]), row.id, str(row.actor))  # type: ignore[arg-type]
    return ports.ledger.run_requests.change(row.id, RequestChange(RequestStatus.LAUNCHED, run_id=run_id))


def _looked_for(
    row: RunRequest, unsure: LaunchUnsureError, ports: Ports, launcher: Launcher, pause: Callable[[float], object]
) -> RunRequest:
    """The row after an answer that did not come: with the run that Dagster has for it, or as it was."""
    for seconds in LOOK_AFTER_S:
        pause(seconds)
        try:
            state = launcher.find(row.id)
        except (DagsterAwayError, RefusedError):
            continue
        if state is not None:
            return _noted(row, state, ports)
    waiting = f"{unsure.what} It may have understood: it is asked again before anything is sent again."
    return ports.ledger.run_requests.change(row.id, RequestChange(error_message=waiting))


def _end(row: RunRequest, status: RequestStatus, error: BackupError, ports: Ports) -> RunRequest:
    change = RequestChange(status, finished_at=ports.clock(), error_message=str(error))
    return ports.ledger.run_requests.change(row.id, change)


def follow_requests(ports: Ports, launcher: Launcher) -> Sequence[RunRequest]:
    """Look what became of every request that is not over, and write it down; the rows that changed.

    One whose launch never left is sent; one of which Dagster knows nothing is sent again, within `NOT_STARTED_AFTER`,
    and refused after `GIVEN_UP_AFTER`. While Dagster is away the ledger tells how backups ended. LedgerError when that
    can not be asked.
    """
    changed = []
    for row in ports.ledger.run_requests.list(status=OPEN):
        try:
            after = _followed(row, ports, launcher)
        except DagsterAwayError:
            after = _by_ledger(row, ports)
        except RefusedError as refusal:
            logger.warning("What became of run request %s is not known: %s", row.id, refusal.what)
            continue
        if after.status is not row.status:
            changed.append(after)
    return changed


def _followed(row: RunRequest, ports: Ports, launcher: Launcher) -> RunRequest:
    state = launcher.state(row.run_id) if row.run_id else launcher.find(row.id)
    if state is not None:
        return _noted(row, state, ports)
    if row.run_id:
        after = _by_ledger(row, ports)
        gone = BackupError(f"Dagster does not know run {row.run_id} any more.", do="The backups tell what it came to.")
        return after if after.status.over else _end(row, RequestStatus.FAILED, gone, ports)
    age = ports.clock() - row.created_at
    if age < NOT_STARTED_AFTER:
        return _sent_again(row, ports, launcher)
    if age < GIVEN_UP_AFTER:
        return row
    never = NotFoundError("Dagster never had it.", do=f"Run: {row.command}")
    return _end(row, RequestStatus.REFUSED, never, ports)


def _sent_again(row: RunRequest, ports: Ports, launcher: Launcher) -> RunRequest:
    """Send what never left, or was lost. That Dagster is away again is no refusal: the next look tries again."""
    if not ports.ledger.run_requests.take(row.id, ports.clock(), AGAIN_AFTER):
        return row
    try:
        return _launch(row, ports, launcher)
    except RefusedError as refusal:
        return _end(row, RequestStatus.REFUSED, refusal, ports)


_AFTER = {
    RunPhase.WAITING: RequestStatus.LAUNCHED,
    RunPhase.RUNNING: RequestStatus.RUNNING,
    RunPhase.DONE: RequestStatus.DONE,
    RunPhase.FAILED: RequestStatus.FAILED,
    RunPhase.CANCELED: RequestStatus.CANCELED,
}


def _noted(row: RunRequest, state: RunState, ports: Ports) -> RunRequest:
    status = _AFTER[state.phase]
    if (status, state.run_id) == (row.status, row.run_id):
        return row
    change = RequestChange(
        status, run_id=state.run_id, started_at=state.started_at, error_message=state.error or None,
        finished_at=(state.finished_at or ports.clock()) if status.over else None,
    )  # fmt: skip
    return ports.ledger.run_requests.change(row.id, change)


def _by_ledger(row: RunRequest, ports: Ports) -> RunRequest:
    """The row as the ledger's own row of the backup has it, where there is one that ended."""
    attempt = ports.ledger.of_run(row.run_id) if row.run_id else None
    if attempt is None or attempt.finished_at is None:
        return row
    if attempt.status.good:
        return ports.ledger.run_requests.change(
            row.id, RequestChange(RequestStatus.DONE, finished_at=attempt.finished_at)
        )
    ended = RequestStatus.CANCELED if attempt.status is Status.CANCELED else RequestStatus.FAILED
    change = RequestChange(ended, finished_at=attempt.finished_at, error_message=attempt.error_message)
    return ports.ledger.run_requests.change(row.id, change)


def tell_unstarted(ports: Ports) -> Sequence[RunRequest]:
    """Alert, once each, of requests whose run has not begun in time; those. Needs the ledger alone.

    LedgerError when it can not be asked.
    """
    now = ports.clock()
    waiting = ports.ledger.run_requests.list(status=(RequestStatus.REQUESTED, RequestStatus.LAUNCHED))
    late = [row for row in waiting if row.alerted_at is None and now - row.created_at > NOT_STARTED_AFTER]
    for row in late:
        ports.ledger.run_requests.change(row.id, RequestChange(alerted_at=now))
        tell(_unstarted_alert(row, now), ports)
    return late


def _unstarted_alert(row: RunRequest, now: datetime) -> Alert:
    minutes = int((now - row.created_at).total_seconds() // 60)
    known = (
        f"Dagster has it as run {row.run_id}, which waits." if row.run_id else "Dagster has not said that it has it."
    )
    return Alert(
        severity=Severity.WARNING,
        title=f"{row.verb.value.capitalize()} of {row.scope} has not begun",
        what=f"{row.actor.for_people} asked for it {minutes} minutes ago. {known}",
        do=f"Look whether Dagster's daemon runs, and what its queue holds. Without Dagster: {row.command}",
        scope=row.scope,
        run_id=row.run_id,
        at=now,
    )


def cancel_request(request: UUID, actor: Actor, ports: Ports, launcher: Launcher) -> RunRequest:
    """Stop the run of a request, or keep it from beginning; the row as it then stands.

    NotFoundError without such a row; RefusedError when it is over; DagsterAwayError when its run can not be reached.
    A run that goes on is asked to stop, and ends in its own time.
    """
    row = ports.ledger.run_requests.get(request)
    if row is None:
        message = f"There is no run request {request}."
        raise NotFoundError(message, do="The overview lists what runs.")
    if row.status.over:
        message = f"Run request {request} is {row.status.value} already."
        raise RefusedError(message, do="There is nothing to stop.")
    if row.run_id:
        launcher.terminate(row.run_id)
    ports.ledger.audit(AuditEvent(ports.clock(), actor, "run canceled", None, {"request": str(request)}))
    if row.status is RequestStatus.RUNNING:
        return ports.ledger.run_requests.get(request) or row
    why = f"Canceled by {actor.for_people} before it began."
    change = RequestChange(RequestStatus.CANCELED, finished_at=ports.clock(), error_message=why)
    return ports.ledger.run_requests.change(request, change)


def claim_run(request: str, run_id: str, job: str, ledger: Ledger, now: datetime) -> RunRequest:
    """The row that a run with this tag acts for: whoever asked for it in the ledger is its actor.

    RefusedError, before anything was touched, when the row is not there, is over, is another run's, or is for another
    job: a tag is written by whoever launches a run, the row by somebody who signed in.
    """
    try:
        number = UUID(request)
    except ValueError:
        row = None
    else:
        known = ledger.run_requests.get(number)
        fits = known is not None and read_order(known.detail["order"]).job == job  # type: ignore[arg-type]
        row = ledger.run_requests.claim(number, run_id, now) if fits else None
    if row is None:
        message = f"Run request {request} is not for this run: it is over, another run's, or not in the ledger."
        raise RefusedError(message, do="Nothing was done. Ask for it again, or launch the job without that tag.")
    return row


def note_result(run_id: str, result: Mapping[str, object], ledger: Ledger) -> None:
    """Keep what a run came to, such as a plan, in the request that it is for, where it is for one."""
    row = ledger.run_requests.of_run(run_id)
    if row is not None:
        ledger.run_requests.change(row.id, RequestChange(result=result))


def order_of(wish: RunWish, now: datetime) -> JobOrder:
    """The run that the wish is for; UsageError for a wish that can not be."""
    catalog, verb = wish.catalog.catalog, wish.verb
    job = job_name(catalog, verb)
    if verb in {RunVerb.BACKUP, RunVerb.TABLES}:
        if not wish.detail.get("automatic"):
            wish.catalog.check_reason(wish.reason)
        return _backup_order(wish, job, local_date(now, wish.catalog.timezone))
    if verb in {RunVerb.COPY, RunVerb.TICK}:
        return JobOrder(job)
    if verb is RunVerb.BUSINESS:
        return _business_order(wish, job)
    return JobOrder(job, {"ops": {step_name(catalog, verb): {"config": _config(wish)}}})


def _backup_order(wish: RunWish, job: str, day: date) -> JobOrder:
    """Chosen tables are a selective backup with a bundle of its own; the bundle's asset stands for all of them."""
    config = {"config": {"reason": wish.reason, "late": bool(wish.detail.get("late"))}}
    tables, bundle = backup_steps(wish.catalog.catalog)
    if wish.verb is RunVerb.BACKUP:
        return JobOrder(job, {"ops": {tables: config, bundle: config}}, partition=day.isoformat())
    if not wish.tables:
        message = "No table is chosen."
        raise UsageError(message, do="Choose one or several, or back up the whole catalog.")
    chosen = tuple((wish.catalog.catalog, table) for table in wish.tables)
    return JobOrder(job, {"ops": {tables: config}}, chosen, day.isoformat())


_BUSINESS_KINDS = {"full": None, "incremental": None, "manual": None}


def _business_order(wish: RunWish, job: str) -> JobOrder:
    """The business is the partition: Dagster takes none that no tick has seen in the registry."""
    if not wish.business:
        message = "No business is named."
        raise UsageError(message, do="Name one by its key; `backup-pipeline businesses list` shows them.")
    kind = _choice(wish.text("kind", "manual"), _BUSINESS_KINDS, "kind of backup of a business")
    config = {"kind": kind, "reason": wish.reason}
    steps = {"ops": {step_name(wish.catalog.catalog, wish.verb): {"config": config}}}
    return JobOrder(job, steps, partition=wish.business)


def _config(wish: RunWish) -> dict[str, object]:
    config: dict[str, object]
    match wish.verb:
        case RunVerb.VERIFY:
            config = {"backup_id": wish.backup_id, "level": _choice(wish.text("level", "contents"), _LEVELS, "level")}
        case RunVerb.DRILL:
            fault = wish.text("inject")
            known = {fault.value: fault for fault in Fault}
            config = {"backup_id": wish.backup_id, "inject": _choice(fault, known, "fault") if fault else ""}
        case RunVerb.RESTORE:
            number = 0 if wish.wants_plan_alone else _number(wish.detail.get("request"))
            config = {"request": number, "dry_run": bool(wish.detail.get("dry_run"))}
        case RunVerb.PRUNE:
            config = {"dry_run": bool(wish.detail.get("dry_run"))}
        case RunVerb.DELETE:
            config = {"backup_id": wish.backup_id, "confirm": wish.text("confirm"), "reason": wish.reason}
        case RunVerb.ADOPT:
            config = {"key": _legacy_key(wish)}
        case _:
            known_forms = {form.value: form for form in Rendering}
            config = {
                "backup_id": wish.backup_id,
                "rendering": _choice(wish.text("rendering"), known_forms, "rendering"),
            }
    return config


def _legacy_key(wish: RunWish) -> str:
    """The file of an earlier program that is to be adopted; UsageError for none, or one of a catalog without such."""
    key = wish.text("key").removeprefix(LEGACY)
    if not key or not wish.catalog.legacy:
        message = f"Catalog {wish.catalog.catalog} has no file of an earlier program called {key!r}."
        raise UsageError(message, do="Name the folders of such files as `legacy:` of the catalog.")
    return key


def _choice(value: str, known: Mapping[str, object], what: str) -> str:
    if value not in known:
        message = f"{value!r} is not a {what}."
        raise UsageError(message, do=f"Choose one of {', '.join(known)}.")
    return value


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        message = f"{value!r} is not the number of a restore request."
        raise UsageError(message, do="`backup-pipeline restores` lists them.") from None


def command_of(wish: RunWish) -> str:
    """The same at the command line, for whoever has Dagster away."""
    if wish.wants_plan_alone:
        return wish.text("command")
    return shlex.join(["backup-pipeline", *_words(wish)])


def _words(wish: RunWish) -> Sequence[str]:
    of_catalog, backup = ("--catalog", wish.catalog.catalog), wish.backup_id
    because = ("--reason", wish.reason) if wish.reason else ()
    dry_run, fault = bool(wish.detail.get("dry_run")), wish.text("inject")
    words: Mapping[RunVerb, Sequence[str]] = {
        RunVerb.BACKUP: ("backup", *of_catalog, *because),
        RunVerb.TABLES: ("backup", *of_catalog, *(f"--table={table}" for table in wish.tables), *because),
        RunVerb.VERIFY: ("verify", backup, *of_catalog, "--level", wish.text("level", "contents")),
        RunVerb.DRILL: ("drill", backup, *of_catalog, *(("--inject", fault) if fault else ())),
        RunVerb.RESTORE: ("restore", "--request", wish.text("request"), *(("--dry-run",) if dry_run else ())),
        RunVerb.PRUNE: ("prune", *of_catalog, *(() if dry_run else ("--confirm",))),
        RunVerb.DELETE: ("delete", backup, "--confirm", backup, *because),
        RunVerb.RENDER: ("download", backup, *of_catalog, "--as", wish.text("rendering")),
        RunVerb.COPY: ("copy", "--missing"),
        RunVerb.TICK: ("businesses", "tick", *of_catalog),
        RunVerb.BUSINESS: (
            *("businesses", "backup", wish.business or ""),
            *("--as", wish.text("kind", "manual"), *of_catalog, *because),
        ),
        RunVerb.ADOPT: ("adopt", f"{LEGACY}{wish.text('key').removeprefix(LEGACY)}", *of_catalog),
    }
    return words[wish.verb]


def follow_quietly(ports: Ports, launcher: Launcher) -> Sequence[RunRequest]:
    """As `follow_requests`, for a watcher that goes on: a ledger that is away is only logged."""
    try:
        return follow_requests(ports, launcher)
    except LedgerError as trouble:
        logger.warning("What became of run requests is not known: %s", trouble.what)
        return ()
