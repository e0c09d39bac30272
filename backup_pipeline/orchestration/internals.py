"""Every name of Dagster that is not public, and what it is needed for: the one place to look at upgrades.

    from backup_pipeline.orchestration.internals import ErrorSource

Each is loaded when it is imported from here, none before. Where a version of Dagster has it no more, the import says
which name that is and what goes without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
    from dagster._core.errors import DagsterUserCodeProcessError, DagsterUserCodeUnreachableError
    from dagster._core.event_api import EventLogCursor
    from dagster._core.events import ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS, FAILURE_EVENTS
    from dagster._core.execution.api import execute_run
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster._core.execution.plan.objects import ErrorSource
    from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
    from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
    from dagster._core.storage.base_storage import DagsterStorage
    from dagster._core.storage.compute_log_manager import ComputeLogManager
    from dagster._core.storage.event_log import SqlEventLogStorage
    from dagster._core.storage.event_log.base import AssetRecord
    from dagster._core.storage.event_log.migration import ASSET_KEY_INDEX_COLS
    from dagster._core.storage.event_log.schema import (
        AssetCheckExecutionsTable,
        AssetEventTagsTable,
        AssetKeyTable,
        SqlEventLogStorageTable,
    )
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
    from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
    from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._serdes import ConfigurableClass, ConfigurableClassData
    from dagster._utils.log import configure_loggers
    from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
    from dagster_shared.error import SerializableErrorInfo
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__ as webserver_version

__all__ = [
    "ASSET_EVENTS",
    "ASSET_KEY_INDEX_COLS",
    "EVENT_TYPE_TO_PIPELINE_RUN_STATUS",
    "FAILURE_EVENTS",
    "AssetCheckEvaluationTargetMaterializationData",
    "AssetCheckExecutionRecordStatus",
    "AssetCheckExecutionsTable",
    "AssetEventTagsTable",
    "AssetKeyTable",
    "AssetRecord",
    "CheckRunHealthResult",
    "ComputeLogManager",
    "ConfigurableClass",
    "ConfigurableClassData",
    "DagsterSqliteStorage",
    "DagsterStorage",
    "DagsterUserCodeProcessError",
    "DagsterUserCodeUnreachableError",
    "ErrorSource",
    "EventLogCursor",
    "InMemoryJob",
    "LocalComputeLogManager",
    "PartitionBackfill",
    "RegisteredCodeLocationOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "SerializableErrorInfo",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
    "TranslationFn",
    "TranslationFnResolver",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "WorkspaceFileTarget",
    "WorkspaceProcessContext",
    "configure_loggers",
    "create_app_from_workspace_process_context",
    "execute_run",
    "webserver_version",
]

_CORE = "dagster._core"
_STORAGE = f"{_CORE}.storage"
_COMPONENT, _RUN = "`translation` of BackupComponent", "backups run by the command line"
_HOME, _LAUNCHER, _PURGE = "the storage of dagster.yaml", "the run launcher of dagster.yaml", "purging the event log"
_EVENTS = "events stored many at a time"
_PROOFS, _FAILURES = "the checks `verified` and `restores`", "failures without a stack"
_UI, _BACKFILLS, _TYPES = "the web server of `up`", "refusing backfills of past days", "annotations"

NEEDED = {
    "TranslationFn": ("dagster.components.utils.translation", _COMPONENT),
    "TranslationFnResolver": ("dagster.components.utils.translation", _COMPONENT),
    "ErrorSource": (f"{_CORE}.execution.plan.objects", _RUN),
    "InMemoryJob": (f"{_CORE}.definitions.job_base", _RUN),
    "RegisteredCodeLocationOrigin": (f"{_CORE}.remote_origin", _RUN),
    "RemoteJobOrigin": (f"{_CORE}.remote_origin", _RUN),
    "RemoteRepositoryOrigin": (f"{_CORE}.remote_origin", _RUN),
    "execute_run": (f"{_CORE}.execution.api", _RUN),
    "PartitionBackfill": (f"{_CORE}.execution.backfill", _BACKFILLS),
    "AssetCheckEvaluationTargetMaterializationData": (
        f"{_CORE}.definitions.asset_checks.asset_check_evaluation",
        _PROOFS,
    ),
    "ASSET_EVENTS": (f"{_CORE}.events", _EVENTS),
    "ASSET_KEY_INDEX_COLS": (f"{_STORAGE}.event_log.migration", _EVENTS),
    "AssetCheckExecutionRecordStatus": (f"{_STORAGE}.asset_check_execution_record", _EVENTS),
    "AssetCheckExecutionsTable": (f"{_STORAGE}.event_log.schema", _EVENTS),
    "AssetEventTagsTable": (f"{_STORAGE}.event_log.schema", _EVENTS),
    "AssetKeyTable": (f"{_STORAGE}.event_log.schema", _EVENTS),
    "AssetRecord": (f"{_STORAGE}.event_log.base", _TYPES),
    "EventLogCursor": (f"{_CORE}.event_api", _EVENTS),
    "DagsterUserCodeProcessError": (f"{_CORE}.errors", _FAILURES),
    "SerializableErrorInfo": ("dagster_shared.error", _FAILURES),
    "UnresolvedAssetJobDefinition": (f"{_CORE}.definitions.unresolved_asset_job_definition", _TYPES),
    "CheckRunHealthResult": (f"{_CORE}.launcher.base", _LAUNCHER),
    "WorkerStatus": (f"{_CORE}.launcher.base", _LAUNCHER),
    "DagsterUserCodeUnreachableError": (f"{_CORE}.errors", _LAUNCHER),
    "DagsterStorage": (f"{_STORAGE}.base_storage", _HOME),
    "DagsterSqliteStorage": (f"{_STORAGE}.sqlite_storage", _HOME),
    "ComputeLogManager": (f"{_STORAGE}.compute_log_manager", _HOME),
    "LocalComputeLogManager": (f"{_STORAGE}.local_compute_log_manager", _HOME),
    "ConfigurableClass": ("dagster._serdes", _HOME),
    "ConfigurableClassData": ("dagster._serdes", _HOME),
    "EVENT_TYPE_TO_PIPELINE_RUN_STATUS": (f"{_CORE}.events", _PURGE),
    "FAILURE_EVENTS": (f"{_CORE}.events", _PURGE),
    "SqlEventLogStorage": (f"{_STORAGE}.event_log", _PURGE),
    "SqlEventLogStorageTable": (f"{_STORAGE}.event_log.schema", _PURGE),
    "SqliteEventLogStorage": (f"{_STORAGE}.event_log.sqlite.sqlite_event_log", _PURGE),
    "WorkspaceProcessContext": (f"{_CORE}.workspace.context", _UI),
    "WorkspaceFileTarget": (f"{_CORE}.workspace.load_target", _UI),
    "configure_loggers": ("dagster._utils.log", _UI),
    "create_app_from_workspace_process_context": ("dagster_webserver.app", _UI),
    "webserver_version": ("dagster_webserver.version", _UI),
}
"""Where each name is, and what goes without it."""
_OTHERWISE_NAMED = {"webserver_version": "__version__"}


LAUNCHER_METHOD = "_get_grpc_client_for_termination"
"""Of Dagster's own launcher: the code server that executes a run."""


def code_server_of(launcher: dg.DefaultRunLauncher, run_id: str) -> DagsterGrpcClient | None:
    """The client of the code server in which the run was started; None where nobody knows."""
    client: DagsterGrpcClient | None = getattr(launcher, LAUNCHER_METHOD)(run_id)
    return client


OUTPUTS_METHOD = "get_output_asset_keys"
"""Of Dagster's context of a step: the assets that the step makes. It is asked for each of them."""


def remember_outputs(context: dg.AssetExecutionContext) -> None:
    """Have the assets that a step makes be found out once: Dagster looks through all of them for each of them.

    Of a thousand tables that is a third of a backup's work, and it grows with their square. They do not change while
    the step runs.
    """
    step = context.op_execution_context.get_step_execution_context()
    keys = getattr(step, OUTPUTS_METHOD)()
    setattr(step, OUTPUTS_METHOD, lambda: keys)


def __getattr__(name: str) -> object:
    if name not in NEEDED:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    place, purpose = NEEDED[name]
    try:
        return getattr(import_module(place), _OTHERWISE_NAMED.get(name, name))
    except (ImportError, AttributeError) as error:
        message = (
            f"Dagster {dg.__version__} has no {place}.{name}, which backup_pipeline needs for {purpose}. "
            "Install a version of Dagster that it was tried with (docs/dagster.md)."
        )
        raise ImportError(message, name=name) from error
