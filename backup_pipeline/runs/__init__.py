"""Runs of Dagster from outside: launched, watched and stopped over the GraphQL API of its web server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backup_pipeline.core.errors import DagsterAwayError, LaunchUnsureError, NotFoundError, RefusedError
from backup_pipeline.core.runs import (
    REQUEST_TAG,
    USER_TAG,
    CodeLocation,
    DaemonState,
    JobOrder,
    RunLine,
    RunLines,
    RunPhase,
    RunState,
    ScheduleState,
)
from backup_pipeline.core.text import first_sentence, redact, redact_url
from backup_pipeline.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import Iterator

with lazily():
    import httpx

_LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_RUN = """runId jobName status startTime endTime tags { key value }"""
_FIND = f"""query($filter: RunsFilter!) {{ runsOrError(filter: $filter) {{
  __typename ... on Runs {{ results {{ {_RUN} }} }} ... on Error {{ message }} }} }}"""
_STATE = f"""query($run: ID!) {{ runOrError(runId: $run) {{
  __typename ... on Run {{ {_RUN} }} ... on Error {{ message }} }} }}"""
_FAILURE = """query($run: ID!) { logsForRun(runId: $run, limit: 1000) { ... on EventConnection { events {
  ... on ExecutionStepFailureEvent { error { message } } ... on RunFailureEvent { message error { message } } } } } }"""
_LOG = """query($run: ID!, $after: String, $limit: Int) {
  logsForRun(runId: $run, afterCursor: $after, limit: $limit) { __typename ... on Error { message }
  ... on EventConnection { cursor hasMore events {
    ... on MessageEvent { message timestamp level stepKey } ... on ErrorEvent { error { message } } } } } }"""
_TERMINATE = """mutation($run: String!, $how: TerminateRunPolicy) { terminateRun(runId: $run, terminatePolicy: $how) {
  __typename ... on Error { message } ... on TerminateRunFailure { message } } }"""
_SCHEDULES = """query($at: RepositorySelector!, $next: Int!) { schedulesOrError(repositorySelector: $at) {
  __typename ... on Error { message } ... on Schedules { results {
    name pipelineName cronSchedule executionTimezone futureTicks(limit: $next) { results { timestamp } }
    scheduleState { id status ticks(limit: 1) { timestamp status error { message } } } } } } }"""
_START = """mutation($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) {
  __typename ... on Error { message } } }"""
_STOP = """mutation($id: String!) { stopRunningSchedule(id: $id) { __typename ... on Error { message } } }"""
_DAEMONS = """{ instance { daemonHealth { allDaemonStatuses {
  daemonType required healthy lastHeartbeatTime lastHeartbeatErrors { message } } } } }"""
_LOCATIONS = """{ workspaceOrError { __typename ... on Error { message } ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
_OBSERVE = """mutation($event: ReportRunlessAssetEventsParams!) { reportRunlessAssetEvents(eventParams: $event) {
  __typename ... on Error { message } } }"""

_PHASES = {
    "SUCCESS": RunPhase.DONE,
    "FAILURE": RunPhase.FAILED,
    "CANCELED": RunPhase.CANCELED,
    "STARTED": RunPhase.RUNNING,
    "CANCELING": RunPhase.RUNNING,
}
"""The statuses of Dagster; every other one is that of a run that waits to begin."""
_WAITING = {"QUEUED", "NOT_STARTED"}
_NEXT_TICKS = 3
_LINES = 500
_LOG_PATIENCE_S = 5.0
"""A page that shows a log waits for it."""
_LONGEST_EVENT = 20_000
_LONGEST_LINE = 2_000
_REPOSITORY = "__repository__"
_CONNECT_S = 2.0
_ALL_BUT_TOO_LATE = "Wait for its end, or look at it in the Dagster UI."


@dataclass(frozen=True)
class DagsterAddress:
    """Where Dagster's web server listens, for this program, and which code location has our jobs.

    `patience_s` is the longest that one answer may take; a launch loads the job, and takes the longest.
    """

    url: str
    location: str
    repository: str = _REPOSITORY
    patience_s: float = 20.0

    @property
    def selector(self) -> dict[str, str]:
        """The repository, as the API takes it."""
        return {"repositoryLocationName": self.location, "repositoryName": self.repository}


class GraphQLLauncher:
    """The port `Launcher` over the GraphQL API of a web server; safe from any thread.

    Nothing connects before it is used. `close` gives the connections back. `hide` takes secrets out of what runs log.
    """

    def __init__(self, address: DagsterAddress, *, hide: Callable[[str], str] = redact) -> None:
        self._address, self._hide = address, hide
        self._client = httpx.Client(
            timeout=httpx.Timeout(address.patience_s, connect=_CONNECT_S),
            trust_env=False,  # a proxy of the environment is not for a server of this machine
            follow_redirects=False,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def launch(self, order: JobOrder, request: UUID, user: str) -> str:
        """Launch a run; its id."""
        tags = {**order.tags, REQUEST_TAG: str(request), USER_TAG: user}
        if order.partition is not None:
            tags["dagster/partition"] = order.partition
        selector = {**self._address.selector, "pipelineName": order.job}
        if order.assets:
            chosen = [{"path": list(path)} for path in order.assets]
            selector |= {"assetSelection": chosen, "assetCheckSelection": []}  # type: ignore[dict-item]
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": json.dumps(order.config),
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(_LAUNCH, "launchPipelineExecution", sent=True, params=params)
        _check(answer, "LaunchRunSuccess", f"Dagster did not launch {order.job}")
        return str(answer["run"]["runId"])

    def find(self, request: UUID) -> RunState | None:
        """The oldest run that is tagged with the request."""
        wanted = {"tags": [{"key": REQUEST_TAG, "value": str(request)}]}
        answer = self._ask(_FIND, "runsOrError", filter=wanted)
        _check(answer, "Runs", "Dagster did not look for the run")
        return _run_state(answer["results"][-1]) if answer["results"] else None  # the newest comes first

    def state(self, run_id: str) -> RunState | None:
        """The run; why it failed, where it did and its log says so."""
        answer = self._ask(_STATE, "runOrError", run=run_id)
        if answer["__typename"] == "RunNotFoundError":
            return None
        _check(answer, "Run", f"Dagster did not tell about run {run_id}")
        state = _run_state(answer)
        return _run_state(answer, self._why(run_id)) if state.phase is RunPhase.FAILED else state

    def _why(self, run_id: str) -> str:
        answer = self._ask(_FAILURE, "logsForRun", run=run_id)
        errors = [event["error"] or event for event in answer.get("events", ()) if event.get("error") or event]
        return redact(str(errors[0]["message"]).strip()) if errors else ""

    def log(self, run_id: str, after: str = "") -> RunLines | None:
        """Lines of the run's log, the text of each without secrets and not longer than a page."""
        field = "logsForRun"
        answer = self._ask(_LOG, field, patience_s=_LOG_PATIENCE_S, run=run_id, after=after or None, limit=_LINES)
        if answer["__typename"] == "RunNotFoundError":
            return None
        _check(answer, "EventConnection", f"Dagster did not tell the log of run {run_id}")
        lines = tuple(self._line(event) for event in answer["events"] if "timestamp" in event)
        return RunLines(lines, str(answer["cursor"] or after), more=bool(answer["hasMore"]))

    def _line(self, event: Mapping[str, Any]) -> RunLine:
        error = str((event.get("error") or {}).get("message") or "").strip()
        message = str(event["message"]).strip()
        # Cut before as well, so that nobody waits for megabytes to be looked through.
        text = self._hide("\n".join(part for part in (message, error) if part)[:_LONGEST_EVENT])
        cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
        at = datetime.fromtimestamp(float(event["timestamp"]) / 1000, UTC)
        return RunLine(at, str(event["level"]).lower(), str(event.get("stepKey") or ""), cut)

    def terminate(self, run_id: str) -> None:
        """Stop a run, and its SQL with it; one that waits never begins."""
        answer = self._ask(_STATE, "runOrError", run=run_id)
        waits = answer.get("status") in _WAITING
        how = "MARK_AS_CANCELED_IMMEDIATELY" if waits else "SAFE_TERMINATE"
        answer = self._ask(_TERMINATE, "terminateRun", run=run_id, how=how)
        _check(answer, "TerminateRunSuccess", f"Run {run_id} was not stopped", do=_ALL_BUT_TOO_LATE)

    def schedules(self) -> Sequence[ScheduleState]:
        """Every schedule of the code location, by name."""
        return sorted(map(_schedule_state, self._schedules(_NEXT_TICKS)), key=lambda schedule: schedule.name)

    def _schedules(self, ticks: int) -> Sequence[Mapping[str, Any]]:
        answer = self._ask(_SCHEDULES, "schedulesOrError", at=self._address.selector, next=ticks)
        _check(answer, "Schedules", "Dagster did not tell its schedules")
        return list(answer["results"])

    def start_schedule(self, name: str) -> None:
        """Let a schedule run."""
        schedule = {**self._address.selector, "scheduleName": name}
        answer = self._ask(_START, "startSchedule", schedule=schedule)
        _check(answer, "ScheduleStateResult", f"Schedule {name} was not started")

    def stop_schedule(self, name: str) -> None:
        """Stop a schedule. NotFoundError when there is none of that name."""
        ids = [each["scheduleState"]["id"] for each in self._schedules(0) if each["name"] == name]
        if not ids:
            message = f"There is no schedule {name} in Dagster."
            raise NotFoundError(message, do="The page of settings lists them.")
        answer = self._ask(_STOP, "stopRunningSchedule", id=ids[0])
        _check(answer, "ScheduleStateResult", f"Schedule {name} was not stopped")

    def daemons(self) -> Sequence[DaemonState]:
        """The daemons."""
        answer = self._ask(_DAEMONS, "instance")
        return [
            DaemonState(
                name=each["daemonType"],
                healthy=bool(each["healthy"]),
                required=each["required"],
                last_sign=_instant(each["lastHeartbeatTime"]),
                error=" ".join(first_sentence(redact(error["message"])) for error in each["lastHeartbeatErrors"]),
            )
            for each in answer["daemonHealth"]["allDaemonStatuses"]
        ]

    def locations(self) -> Sequence[CodeLocation]:
        """The code locations."""
        answer = self._ask(_LOCATIONS, "workspaceOrError")
        _check(answer, "Workspace", "Dagster did not tell its code locations")
        return [
            CodeLocation(
                each["name"],
                loading=each["loadStatus"] == "LOADING",
                error=redact(str((each["locationOrLoadError"] or {}).get("message", ""))),
            )
            for each in answer["locationEntries"]
        ]

    def observe(self, asset: Sequence[str], partition: str | None, message: str) -> None:
        """Note something in the history of an asset, without a run."""
        event = {"eventType": "ASSET_OBSERVATION", "assetKey": {"path": list(asset)}, "description": message}
        if partition is not None:
            event["partitionKeys"] = [partition]
        answer = self._ask(_OBSERVE, "reportRunlessAssetEvents", event=event)
        _check(answer, "ReportRunlessAssetEventsSuccess", f"Dagster did not note it for {'/'.join(asset)}")

    def _ask(
        self, query: str, field: str, *, sent: bool = False, patience_s: float | None = None, **variables: object
    ) -> Mapping[str, Any]:
        """The answer to one field. With `sent`, an answer that does not come leaves it open what happened."""
        url = f"{self._address.url.rstrip('/')}/graphql"
        wait = httpx.Timeout(patience_s or self._address.patience_s, connect=_CONNECT_S)
        try:
            response = self._client.post(url, json={"query": query, "variables": variables}, timeout=wait)
            document = response.json()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise self._away(error) from None  # it was not sent
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error, sent=sent) from None
        if not isinstance(document, dict) or response.status_code >= 500:
            raise self._away(response.reason_phrase, sent=sent)
        if errors := document.get("errors"):
            what = "Dagster refused the question"
            raise _refused(what, errors[0])
        answer: Mapping[str, Any] = (document.get("data") or {}).get(field) or {}
        if not answer:
            raise self._away(response.reason_phrase, sent=sent)
        return answer

    def _away(self, why: object, *, sent: bool = False) -> DagsterAwayError:
        kind = LaunchUnsureError if sent else DagsterAwayError
        words = redact(str(why)) or type(why).__name__
        message = f"Dagster at {redact_url(self._address.url)} does not answer: {words}."
        return kind(
            message,
            do="Start it (`backup-pipeline up`), or correct BACKUP_DAGSTER_API_URL. The command line works without.",
        )


def _run_state(run: Mapping[str, Any], error: str = "") -> RunState:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    return RunState(
        run_id=run["runId"],
        job=run["jobName"],
        phase=_PHASES.get(run["status"], RunPhase.WAITING),
        request=tags.get(REQUEST_TAG),
        started_at=_instant(run["startTime"]),
        finished_at=_instant(run["endTime"]),
        error=error,
    )


def _schedule_state(schedule: Mapping[str, Any]) -> ScheduleState:
    state = schedule["scheduleState"]
    last = next(iter(state["ticks"]), None)
    next_ticks = (_instant(tick["timestamp"]) for tick in schedule["futureTicks"]["results"])
    return ScheduleState(
        name=schedule["name"],
        job=schedule["pipelineName"],
        cron=schedule["cronSchedule"],
        timezone=schedule["executionTimezone"] or "UTC",
        running=state["status"] == "RUNNING",
        next_ticks=tuple(tick for tick in next_ticks if tick is not None),
        last_tick=_instant(last["timestamp"]) if last else None,
        last_error=first_sentence(redact(last["error"]["message"])) if last and last["error"] else "",
    )


def _instant(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _check(answer: Mapping[str, Any], wanted: str, what: str, *, do: str = "") -> None:
    """RefusedError, beginning with `what`, unless the answer is of the wanted type."""
    if answer["__typename"] != wanted:
        raise _refused(what, answer, do=do)


def _refused(what: str, answer: Mapping[str, Any], *, do: str = "") -> RefusedError:
    message = f"{what}: {redact(' '.join(_messages(answer)))}"
    return RefusedError(message, do=do or "Look at the code location in the Dagster UI: Deployment, then reload it.")


def _messages(answer: Mapping[str, Any]) -> Iterator[str]:
    """What an answer says against it; of config that does not fit, each error."""
    for message in [str(error["message"]) for error in answer.get("errors", ())] or [str(answer.get("message", ""))]:
        yield message.strip().partition("\n")[0] or str(answer.get("__typename", "no reason was given"))
