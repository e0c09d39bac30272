"""What steps and sensors reach the world through: the ports of a catalog; and how an error ends a step."""

import inspect
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import dagster as dg
from pydantic import Field, PrivateAttr

from backup_pipeline.core.alerts import Delivery
from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.errors import BackupError, ExportFailedError, in_our_words
from backup_pipeline.core.ports import Event, Ports, Progress, Silence, StageStarted, Waiting
from backup_pipeline.core.restore import FIRST, Which
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.text import redact
from backup_pipeline.lazy import lazily
from backup_pipeline.operations.attempts import Request, Work, running_attempt
from backup_pipeline.operations.progress import Both, RunWatch
from backup_pipeline.orchestration.internals import DagsterUserCodeProcessError, SerializableErrorInfo
from backup_pipeline.presentation import stage_name
from backup_pipeline.settings import Settings, given_settings
from backup_pipeline.stores.s3 import S3Settings
from backup_pipeline.wiring.addresses import store_url
from backup_pipeline.wiring.ports import open_ports

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

    from backup_pipeline.operations.restore.requests import TargetDatabase
    from backup_pipeline.wiring.restore import NamedTarget

with lazily():
    from dagster_aws import s3 as dagster_s3

    from backup_pipeline.wiring import restore


class StepLog:
    """The port `Progress` of a run from Dagster's UI: each stage, and whatever the run waits for, in the run's log.

    Not what becomes of each table: their materializations show that, and a line costs a transaction.
    """

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log

    def tell(self, event: Event) -> None:
        """Write a line when a stage begins, and when the run stands still."""
        match event:
            case StageStarted():
                self._log.info(f"{stage_name(event).capitalize()}.")
            case Waiting():
                self._log.warning(redact(event.message))


Step = dg.AssetExecutionContext | dg.OpExecutionContext | dg.AssetCheckExecutionContext


def _watching(step: Step | None) -> Progress:
    """Who watches: the command line, else the run's own log, where there is a run."""
    return watcher.get() or (StepLog(step.log) if step else Silence())


@contextmanager
def _noted(ports: Ports, scope: Scope, step: Step | None) -> Iterator[Ports]:
    """`ports` whose progress is written into the ledger too, where a run is at work."""
    if step is None:
        yield ports
        return
    with RunWatch(lambda: ports.ledger.progress, step.run.run_id, scope, ports.clock) as watch:
        yield replace(ports, progress=Both(ports.progress, watch))


class NoS3(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """The store of this installation is a directory."""


def s3_resource(settings: Settings) -> "S3Resource | NoS3":
    """S3 as the settings say; credentials come from the usual AWS chain and never stand in Dagster's config."""
    if not store_url(settings).startswith("s3:"):
        return NoS3()
    return dagster_s3.S3Resource(endpoint_url=settings.s3_endpoint_url, region_name=settings.s3_region)


def s3_settings_of(resource: Any) -> S3Settings | None:
    """The settings of `s3_resource` as the store takes them; None where there are none, and the fields say it."""
    if isinstance(resource, NoS3):
        return None
    return S3Settings(
        endpoint_url=resource.endpoint_url,
        region=resource.region_name,
        access_key_id=resource.aws_access_key_id,
        secret_access_key=resource.aws_secret_access_key,
        session_token=resource.aws_session_token,
        profile=resource.profile_name,
    )


T = TypeVar("T")

watcher: ContextVar[Progress | None] = ContextVar("watcher", default=None)
"""Who watches the runs of this process; the command line sets it."""


# They are not marked as secrets of Dagster's: its launchpad would write `********` into the config of each run, and the
# run would take that for the URL. Nothing is shown all the same: what is given as a text goes into `defaults`.
_SECRETS = ("source_url", "ledger_url", "alert_urls")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, dg.EnvVar)


def _updated(settings: Settings, given: Mapping[str, Any]) -> Settings:
    # A source of this resource is the source of its catalog, whatever else is set for that.
    sources: dict[str, Any] = {"source_urls": {}} if "source_url" in given else {}
    return settings.updated(**given, **sources)


class BackupResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """The database, the ledger and the store of a catalog's backups: opens its ports, and says what runs need to know.

    A field that is not given is as the settings of the installation have it (`defaults`); without those, as their
    built-in default is. Every field takes `dg.EnvVar`. `s3` is an S3Resource of dagster-aws, for credentials of its
    own; without it they come from the usual AWS chain.
    """

    source_url: str | None = Field(
        default=None, description="The database that is backed up, by a role that may only read."
    )
    ledger_url: str | None = Field(default=None, description="The database that holds backup_logs.")
    store: str | None = Field(default=None, description="Where backups go: file:///path or s3://bucket/prefix.")
    s3_endpoint_url: str | None = Field(default=None, description="Of an S3 store other than AWS.")
    s3_region: str | None = Field(default=None, description="The region of the bucket.")
    second_store: str | None = Field(default=None, description="Where each backup is copied to, after the store.")
    workers: int | None = Field(default=None, ge=1, le=32, description="Tables read side by side.")
    work_dir: str | None = Field(default=None, description="The folder of files in the making.")
    age_recipients: str | None = Field(
        default=None, description="age recipients that backups are encrypted to, by spaces."
    )
    alert_urls: str | None = Field(default=None, description="Apprise URLs of who is alerted, by spaces.")
    dagster_url: str | None = Field(default=None, description="Where people find the Dagster UI.")
    create_ledger: bool = Field(
        default=False, description="Make the ledger's database and tables where they are missing."
    )
    s3: dg.ResourceDependency[Any]
    defaults: dg.ResourceDependency[Settings]
    _unfinished: ExitStack = PrivateAttr(default_factory=ExitStack)

    def __init__(self, **values: Any) -> None:
        """Of fields; a URL with a password in it that is given as such goes into `defaults`.

        Dagster would keep it in its storage and show it in the launchpad: of `dg.EnvVar` it shows the name.
        """
        # Dagster gives a nested resource no default of its own.
        every: dict[str, Any] = {"s3": NoS3(), "defaults": given_settings(), **values}
        literal = {name: every.pop(name) for name in _SECRETS if _is_text(every.get(name))}
        if literal:
            every["defaults"] = _updated(every["defaults"], literal)
        super().__init__(**every)

    @cached_property
    def settings(self) -> Settings:
        """The settings that hold here: the fields that are given, then `defaults`."""
        fields = set(type(self).model_fields) - {"create_ledger", "s3", "defaults"}
        given = {name: value for name in fields if (value := getattr(self, name)) is not None}
        return _updated(self.defaults, given) if given else self.defaults

    @property
    def restores_wait(self) -> bool:
        """Whether a restore needs the approval of another person than who asked for it."""
        return self.settings.restore_approval

    @property
    def events_kept(self) -> timedelta:
        """How long the event log of a run is kept whole."""
        return timedelta(days=self.settings.keep_events_days)

    @property
    def copies(self) -> bool:
        """Whether backups are copied into a second store; also before variables of the environment are read."""
        return bool(self.second_store or self.defaults.second_store)

    @property
    def in_s3(self) -> bool:
        """Whether the store is in S3, as far as that is known before variables of the environment are read."""
        return (self.store or store_url(self.defaults)).startswith("s3:")

    def run_url(self, run_id: str) -> str:
        """The page of a run in the Dagster UI."""
        return f"{self.settings.dagster_url.rstrip('/')}/runs/{run_id}"

    def whole(self, events: Generator[T]) -> Generator[T]:
        """`events` of a step, which are closed with the run at the latest.

        A run that is terminated while Dagster writes an event never returns to the generator, and Dagster leaves it
        suspended: its queries would run on, and the process would wait for them.
        """
        self._unfinished.callback(events.close)
        return events

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close what a terminated run left suspended."""
        self._unfinished.close()

    @contextmanager
    def open(self, catalog: Catalog, step: Step | None = None) -> Iterator[Ports]:
        """The ports of `catalog`, closed at the end. Nothing connects before it is used.

        For a `step` its log shows each stage of the work, and what it waits for; the ledger, how far the run is.
        """
        with self.open_named(catalog.catalog, step) as ports:
            yield ports

    @contextmanager
    def open_named(self, catalog: str, step: Step | None = None) -> Iterator[Ports]:
        """As `open`, for who needs the catalog's name alone."""
        s3, progress = s3_settings_of(self.s3), _watching(step)
        with (
            open_ports(self.settings, catalog, s3=s3, progress=progress, create=self.create_ledger) as ports,
            _noted(ports, Scope(catalog), step) as noted,
        ):
            yield noted

    @contextmanager
    def open_restore(
        self, catalog: Catalog, target: "NamedTarget", step: Step, *, store: Which = FIRST
    ) -> Iterator[tuple["TargetDatabase", Ports]]:
        """The target of a restore, and the ports of one that reads `store`. Nothing connects before it is used."""
        s3, progress = s3_settings_of(self.s3), _watching(step)
        opened = restore.open_restore(self.settings, target, catalog.catalog, s3=s3, progress=progress, store=store)
        with opened as (database, ports), _noted(ports, Scope(catalog.catalog), step) as noted:
            yield database, noted


def installed(settings: Settings) -> BackupResource:
    """The resource of an installation that its settings describe; what is no secret of them stands in the UI."""
    shown = {name: getattr(settings, name) for name in ("store", "second_store", "workers", "dagster_url")}
    return BackupResource(s3=s3_resource(settings), defaults=settings, **shown)


def resource_key(catalog: str) -> str:
    """The name by which Dagster knows the resource of a catalog: those of a project of somebody's stand beside it."""
    return f"{catalog}_backups"


class Backups(dict[str, BackupResource]):
    """The resources of several catalogs, by their names."""

    def open(self, catalog: Catalog, step: Step | None = None) -> AbstractContextManager[Ports]:
        """The ports of `catalog`, by its own resource."""
        return self[catalog.catalog].open(catalog, step)

    @property
    def shared(self) -> BackupResource:
        """Any of them: for what is the same in a whole installation."""
        return next(iter(self.values()))

    def run_url(self, run_id: str) -> str:
        """The page of a run in the Dagster UI."""
        return self.shared.run_url(run_id)

    @property
    def restores_wait(self) -> bool:
        """Whether a restore needs the approval of another person than who asked for it."""
        return self.shared.restores_wait

    @property
    def events_kept(self) -> timedelta:
        """How long the event log of a run is kept whole."""
        return self.shared.events_kept


F = TypeVar("F", bound=Callable[..., Any])


def with_backups(*catalogs: Catalog | str, each: bool = False) -> Callable[[F], F]:
    """Give the decorated function, as its parameter `backups`, the resource of the catalog; with `each`, `Backups`.

    Dagster takes a parameter's name for the key of the resource. A catalog has a key of its own, so the function is
    shown to Dagster with a parameter of that name for each catalog.
    """
    names = [catalog if isinstance(catalog, str) else catalog.catalog for catalog in catalogs]
    keys = {resource_key(name): name for name in names}

    def decorate(function: F) -> F:
        def given(values: dict[str, Any]) -> dict[str, Any]:
            resources = Backups({name: values.pop(key) for key, name in keys.items()})
            return {**values, "backups": resources if each else resources.shared}

        @wraps(function)
        def answered(*args: Any, **values: Any) -> Any:
            return function(*args, **given(values))

        @wraps(function)
        def yielded(*args: Any, **values: Any) -> Iterator[Any]:
            yield from function(*args, **given(values))

        called: Any = yielded if inspect.isgeneratorfunction(function) else answered
        shown = inspect.signature(function)
        others = [parameter for name, parameter in shown.parameters.items() if name != "backups"]
        mine = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=BackupResource) for key in keys]
        called.__signature__ = shown.replace(parameters=[*others, *mine])
        # Dagster before 1.13.25 takes names from the signature, and their types from here.
        called.__annotations__ = {**function.__annotations__, **dict.fromkeys(keys, BackupResource)}
        return cast(F, called)

    return decorate


EXIT_CODE = "exit code"
WHAT_TO_DO = "what to do"


@contextmanager
def attempt_of(request: Request, ports: Ports, log: dg.DagsterLogManager) -> Iterator[Work]:
    """`running_attempt` in a step: what comes out is a `Failure` that may be tried again where that can help."""

    def undelivered(delivery: Delivery) -> None:
        log.warning("Alert not delivered to %s: %s", delivery.channel, delivery.error)

    with told_as_failure(log, retried=True), running_attempt(request, ports, undelivered=undelivered) as work:
        yield work


@contextmanager
def told_as_failure(
    log: dg.DagsterLogManager, hide: Callable[[str], str] = redact, *, retried: bool = False
) -> Iterator[None]:
    """Whatever fails inside as one clear failure without secrets; nothing is tried again by itself unless `retried`.

    It has no chain of causes: Dagster writes every cause into its event log, and those are other people's words, which
    may hold a secret.
    """
    try:
        yield
    except dg.Failure:
        raise
    except BackupError as error:
        raise failure(error, hide, retried=retried) from None
    except Exception as error:  # noqa: BLE001  # told as a failure, with its traceback in the log
        log.info(hide("".join(traceback.format_exception(error))))
        raise failure(BackupError(in_our_words(error)), hide) from None


class StepFailedError(DagsterUserCodeProcessError, dg.Failure):
    """A failure of which Dagster shows our words alone: what failed, and what to do.

    Of every exception it writes the stack, which is its own way to the step and ours to the error, and the UI shows
    that below the message. Only of an error that comes from another process does it take the account that comes along.
    """

    def __init__(self, error: BackupError, metadata: Mapping[str, str | int], *, allow_retries: bool) -> None:
        account = f"{error.what}\nWhat to do: {error.do}\n" if error.do else f"{error.what}\n"
        infos = [SerializableErrorInfo(account, [], None)]
        super().__init__(  # type: ignore[no-untyped-call]  # Dagster's own
            error.what, metadata, allow_retries, user_code_process_error_infos=infos
        )


def failure(error: BackupError, hide: Callable[[str], str] = redact, *, retried: bool = True) -> dg.Failure:
    """The error as Dagster shows it: what failed, what to do, and each failed table."""
    metadata: dict[str, str | int] = {EXIT_CODE: error.exit_code}
    if error.do:
        metadata[WHAT_TO_DO] = hide(error.do)
    if isinstance(error, ExportFailedError):
        metadata |= {f"table {table}": hide(reason.what) for table, reason in error.failed.items()}
    shown = BackupError(hide(error.what), do=hide(error.do))
    return StepFailedError(shown, metadata, allow_retries=retried and error.transient)
