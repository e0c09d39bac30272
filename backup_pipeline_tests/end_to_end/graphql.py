"""What a person does in the Dagster UI, over the API that the UI uses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backup_pipeline_tests.orchestration.installation import until

_LAUNCH = """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
_LAUNCHPAD = """query($job: PipelineSelector!) { runConfigSchemaOrError(selector: $job, mode: "default") {
  ... on RunConfigSchema { rootDefaultYaml } } }"""
_TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename ... on PythonError { message } } }"
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
_BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_RUNS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status runs(limit: 100) { id status } } } }"""
_BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id } } } }"
_RUNS = "{ runsOrError { ... on Runs { results { runId } } } }"
_PARTITIONS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
  ... on AssetNode { partitionKeys } } }"""


_JOB = """query($at: RepositorySelector!, $job: PipelineSelector!, $name: String!, $run: ID!, $tags: [ExecutionTag!]) {
  repositoryOrError(repositorySelector: $at) { ... on Repository { jobs { name runs(limit: 1) { runId } } } }
  pipelineOrError(params: $job) { ... on Pipeline { pipelineSnapshotId } }
  runsOrError(filter: { pipelineName: $name, tags: $tags }, limit: 1) { ... on Runs { results { runId } } }
  overview: repositoryOrError(repositorySelector: $at) { ... on Repository { jobs { name runs { runId } } } }
  runOrError(runId: $run) { ... on Run { pipelineSnapshotId parentPipelineSnapshotId hasReExecutePermission
    repositoryOrigin { repositoryName repositoryLocationName } } } }"""
_AGAIN = """mutation($p: ReexecutionParams!) { launchPipelineReexecution(reexecutionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
LOCATION = "backup_pipeline"
_AT = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class Ui:
    """The Dagster UI at `url`."""

    url: str

    def ask(self, query: str, **variables: object) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as refusal:  # its answer is one all the same
            answer = json.load(refusal)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=2):
                return True
        except OSError:
            return False

    def materialize(self, day: str, *assets: str) -> str:
        """Launch a run for `assets`, as "Materialize selected" does; its id."""
        selector = {
            **_AT,
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": asset.split("/")} for asset in assets],
            "assetCheckSelection": [],
        }
        tags = [{"key": "dagster/partition", "value": day}]
        params = {"selector": selector, "mode": "default", "runConfigData": "{}", "executionMetadata": {"tags": tags}}
        launched = self.ask(_LAUNCH, p=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def launchpad(self, job: str) -> str:
        """The config that the launchpad of a job fills in."""
        answer = self.ask(_LAUNCHPAD, job={**_AT, "pipelineName": job})["runConfigSchemaOrError"]
        return str(answer["rootDefaultYaml"])

    def launch(self, job: str, config: str) -> str:
        """Launch a job as its launchpad does; the id of the run."""
        selector = {**_AT, "pipelineName": job}
        params = {"selector": selector, "mode": "default", "runConfigData": config}
        launched = self.ask(_LAUNCH, p=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill(self, days: Sequence[str], *assets: str, config: str = "{}") -> dict[str, str]:
        """Launch a backfill, as "Materialize" does for several partitions; what was answered."""
        keys = [{"path": asset.split("/")} for asset in assets]
        params = {"assetSelection": keys, "partitionNames": list(days), "runConfigData": config}
        answer: dict[str, str] = self.ask(_BACKFILL, p=params)["launchPartitionBackfill"]
        return answer

    def backfill_ended(self, backfill_id: str, within: float = 120) -> list[str]:
        """The runs of a backfill that succeeded as a whole, once it has."""

        def backfill() -> Any:
            return self.ask(_BACKFILL_RUNS, id=backfill_id)["partitionBackfillOrError"]

        until(lambda: backfill()["status"] not in {"REQUESTED", "CANCELING", "FAILING"}, within, every=0.5)
        assert backfill()["status"] == "COMPLETED_SUCCESS", backfill()
        return [run["id"] for run in backfill()["runs"]]

    def launched(self) -> tuple[set[str], set[str]]:
        """Every run there is, and every backfill."""
        runs = self.ask(_RUNS)["runsOrError"]["results"]
        backfills = self.ask(_BACKFILLS)["partitionBackfillsOrError"]["results"]
        return {run["runId"] for run in runs}, {backfill["id"] for backfill in backfills}

    def partitions(self, asset: str) -> list[str]:
        node = self.ask(_PARTITIONS, key={"path": asset.split("/")})["assetNodeOrError"]
        return [str(key) for key in node["partitionKeys"]]

    def job(self, name: str, run_id: str) -> Mapping[str, Any]:
        """What the pages of a job and of one of its runs show, and by what the button to execute it again decides."""
        label = {"key": ".dagster/repository", "value": f"__repository__@{LOCATION}"}
        job = {**_AT, "pipelineName": name}
        data = self.ask(_JOB, at=_AT, job=job, name=name, run=run_id, tags=[label])
        run = data["runOrError"]
        [latest] = [each["runs"] for each in data["repositoryOrError"]["jobs"] if each["name"] == name]
        [every] = [each["runs"] for each in data["overview"]["jobs"] if each["name"] == name]
        return {
            "latest of the job": latest[0]["runId"] if latest else None,
            "latest of the code location": next((each["runId"] for each in data["runsOrError"]["results"]), None),
            "in Overview": [each["runId"] for each in every],
            "may be executed again": run["hasReExecutePermission"],
            "location of the run": run["repositoryOrigin"],
            "version of the run": run["parentPipelineSnapshotId"] or run["pipelineSnapshotId"],
            "version loaded": data["pipelineOrError"]["pipelineSnapshotId"],
        }

    def execute_again(self, run_id: str) -> str:
        """Launch all of a run once more; the id of the new one."""
        params = {"parentRunId": run_id, "strategy": "ALL_STEPS"}
        launched = self.ask(_AGAIN, p=params)["launchPipelineReexecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run_id: str) -> str:
        return str(self.ask(_STATUS, run=run_id)["runOrError"]["status"])

    def ended(self, run_id: str, within: float = 60) -> str:
        until(lambda: self.status(run_id) in _ENDED, within)
        return self.status(run_id)

    def terminate(self, run_id: str) -> None:
        answer = self.ask(_TERMINATE, run=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def healthy_daemons(self) -> set[str]:
        found = self.ask(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return {daemon["daemonType"] for daemon in found if daemon["required"] and daemon["healthy"]}
