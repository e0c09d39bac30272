"""The settings: the one place where the environment is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from backup_pipeline.core.errors import SettingsError, wanted
from backup_pipeline.core.retention.prune import Versions

PROJECT = Path(__file__).resolve().parent.parent
_SOURCE_PREFIX = "BACKUP_SOURCE_URL_"
_TARGET_PREFIX = "BACKUP_RESTORE_TARGET_URL_"
_PING_PREFIX = "BACKUP_PING_"
_OTHER_PREFIXES = ("BACKUP_", "DAGSTER_HOME", "DAGSTER_PG_URL", "AWS_")
BUILT_IN_CATALOGS = Path(__file__).resolve().parent / "catalogs"


def _default_home() -> Path:
    """Beside the package in a checkout; an installed package has no folder of its own, so where the program runs."""
    project = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()
    return project / ".backup_pipeline"


class Settings(BaseSettings):
    """Everything that may differ from one installation to the next (docs/configuration.md).

    What is not set falls back to the embedded default: a PostgreSQL and a directory store under `BACKUP_HOME`.
    """

    model_config = SettingsConfigDict(
        env_prefix="BACKUP_", frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    home: Path = Field(default_factory=_default_home, description="state of the embedded default")
    catalogs: Path = Field(default=BUILT_IN_CATALOGS, description="the folder of catalog files")
    catalog: str = Field(default="isp", description="the catalog that is backed up when none is named")
    source_url: SecretStr | None = Field(default=None, description="the database that is backed up")
    source_urls: Annotated[Mapping[str, SecretStr], NoDecode] = Field(
        default_factory=lambda: _named_urls(_SOURCE_PREFIX),
        description="BACKUP_SOURCE_URL_<CATALOG>: the database of one catalog",
    )
    ledger_url: SecretStr | None = Field(default=None, description="the database that holds backup_logs")
    store: str | None = Field(default=None, description="file:///path or s3://bucket/prefix")
    s3_endpoint_url: str | None = Field(default=None, description="of an S3 store other than AWS")
    s3_region: str | None = Field(
        default=None, validation_alias=AliasChoices("BACKUP_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    s3_lock_mode: Literal["governance", "compliance"] | None = Field(
        default=None, description="lock bundles and manifests with S3 Object Lock; who may lift it"
    )
    s3_lock_days: int | None = Field(default=None, ge=1, le=36_500, description="for how many days")
    second_store: str | None = Field(default=None, description="where each backup is copied to, after BACKUP_STORE")
    second_s3_endpoint_url: str | None = Field(default=None, description="of the second store, other than AWS")
    second_s3_region: str | None = Field(default=None, description="the region of the second store")
    second_s3_profile: str | None = Field(default=None, description="the AWS profile of the second store")
    second_s3_lock_mode: Literal["governance", "compliance"] | None = Field(
        default=None, description="as BACKUP_S3_LOCK_MODE, in the second store"
    )
    second_s3_lock_days: int | None = Field(default=None, ge=1, le=36_500, description="for how many days there")
    s3_sse: str | None = Field(default=None, description="encryption by the S3 server: AES256 or aws:kms")
    s3_sse_kms_key_id: str | None = Field(default=None, description="with aws:kms: the key, where not the account's")
    second_s3_sse: str | None = Field(default=None, description="as s3_sse, for the second store")
    second_s3_sse_kms_key_id: str | None = Field(default=None, description="as s3_sse_kms_key_id, for the second store")
    age_recipients: str = Field(default="", description="age recipients that backups are encrypted to, by spaces")
    age_identity_file: Path | None = Field(default=None, description="the file with the private key, for reading")
    age_identity: SecretStr | None = Field(default=None, description="the private key itself, for reading")
    seal_key_file: Path | None = Field(default=None, description="the private key that seals manifests")
    seal_public_keys: str = Field(default="", description="public keys whose seals count besides, by spaces")
    seal_required: bool = Field(default=False, description="whether a manifest without a seal is refused")
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field(default=(), description="Apprise URLs, by spaces")
    alert_remind_hours: float = Field(
        default=24, gt=0, allow_inf_nan=False, description="how often people are reminded of what keeps failing"
    )
    ping_start_url: SecretStr | None = Field(default=None, description="asked when a full backup begins")
    ping_success_url: SecretStr | None = Field(default=None, description="asked when a full backup is there")
    ping_fail_url: SecretStr | None = Field(default=None, description="asked when a full backup failed")
    ping_urls: Annotated[Mapping[str, SecretStr], NoDecode] = Field(
        default_factory=lambda: _ping_urls(), description="BACKUP_PING_<SIGNAL>_URL_<CATALOG>: those of one catalog"
    )
    ping_method: Literal["GET", "POST"] = Field(default="GET", description="how those URLs are asked")
    ping_timeout_s: float = Field(default=5, gt=0, allow_inf_nan=False, description="how long one ping may take")
    alert_timeout_s: float = Field(default=15, gt=0, allow_inf_nan=False, description="how long one channel may take")
    console_url: str | None = Field(
        default=None, pattern=r"https?://[^/\s]+/?", description="where people find the console, such as a proxy's URL"
    )
    console_key: SecretStr | None = Field(
        default=None, description="seals second factors in the ledger; else console.key in BACKUP_HOME"
    )
    oidc_issuer: str | None = Field(default=None, description="the provider of identities that people sign in at")
    oidc_client_id: str | None = Field(default=None, description="what that provider knows the console as")
    oidc_client_secret: SecretStr | None = Field(default=None, description="the secret it gave the console")
    oidc_roles: str = Field(
        default="", description="groups that are roles, by spaces: backup-admins=super_admin staff=viewer"
    )
    oidc_claim: str = Field(default="groups", description="the claim of the identity token that lists those groups")
    metrics_token: SecretStr | None = Field(default=None, description="what /metrics asks for; else only this machine")
    webhook_private: bool = Field(
        default=False, description="whether webhooks may go to private networks, and over plain HTTP"
    )
    workers: int = Field(
        default_factory=lambda: default_workers(os.cpu_count() or 1),
        ge=1,
        le=32,
        description="tables read side by side",
    )
    page_mib: int = Field(default=4, ge=1, le=512, description="the size a page aims at")
    statement_timeout_s: int = Field(default=3600, ge=0, description="for one query on the source")
    lock_timeout_s: int = Field(default=30, ge=0, description="for a lock on the source")
    connect_timeout_s: int = Field(default=10, ge=1, description="for a connection to the source")
    drill_pg_bin: Path | None = Field(
        default=None, description="the PostgreSQL programs that drills start; else those here that fit the backup"
    )
    pg_bin: Path | None = Field(default=None, description="the folder of the pg_dump to use; else the one that fits")
    restore_role: str | None = Field(
        default=None, min_length=1, description="the role that a restore works as; else that of the target's URL"
    )
    restore_approval: bool = Field(
        default=False, description="whether a restore needs the approval of another person than who asks for it"
    )
    restore_targets: Annotated[Mapping[str, SecretStr], NoDecode] = Field(
        default_factory=lambda: _named_urls(_TARGET_PREFIX),
        description="BACKUP_RESTORE_TARGET_URL_<NAME>: databases that an approved request may be restored into",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="names, by spaces, under which people reach our web pages, such as a proxy's"
    )
    automation: Literal["running", "stopped"] = Field(
        default="stopped", description="whether schedules and sensors that nobody switched run; `up` runs them"
    )
    work_dir: Path | None = Field(default=None, description="files in the making; default: BACKUP_HOME/work")
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="where people find the Dagster UI")
    dagster_api_url: str | None = Field(
        default=None, description="where the console reaches Dagster's web server; else BACKUP_DAGSTER_URL"
    )
    code_location: str = Field(
        default="backup_pipeline", min_length=1, description="the code location that runs of the command line are of"
    )
    dagster_home: Path | None = Field(default=None, validation_alias="DAGSTER_HOME", description="Dagster's own folder")
    dagster_pg_url: SecretStr | None = Field(
        default=None, validation_alias="DAGSTER_PG_URL", description="PostgreSQL for Dagster's storage; else SQLite"
    )
    compute_log_bucket: str | None = Field(default=None, description="S3 bucket for Dagster's compute logs; else local")
    prune_versions: Versions = Field(
        default=Versions.REPORT, description="earlier versions in a versioned bucket: report, leave or remove them"
    )
    keep_events_days: int = Field(default=90, ge=1, description="the event log of a Dagster run is kept whole so long")

    def __init__(self, **values: object) -> None:
        try:
            super().__init__(**values)  # type: ignore[arg-type]  # pydantic-settings types its own keywords only
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]).upper()
            variable = name if name.startswith(_OTHER_PREFIXES) else f"BACKUP_{name}"
            message = f"{variable} is wrong: it wants {wanted(first)}."
            raise SettingsError(message, do="Correct it; docs/configuration.md lists every setting.") from None

    def updated(self, **values: object) -> Settings:
        """These settings with other values, read as those of the environment are; `model_fields_set` grows by those."""
        kept = {name: getattr(self, name) for name in type(self).model_fields if name not in values}
        changed = given_settings(**kept, **values)
        return type(changed).model_construct(self.model_fields_set | values.keys(), **dict(changed))

    def source_url_of(self, catalog: str) -> SecretStr | None:
        """The source of one catalog: `BACKUP_SOURCE_URL_<CATALOG>` where set, else `BACKUP_SOURCE_URL`."""
        return self.source_urls.get(catalog) or self.source_url

    @field_validator("alert_urls", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value


class _GivenSettings(Settings):
    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **_others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def given_settings(**values: object) -> Settings:
    """Settings of these values and the built-in defaults: nothing of the environment counts."""
    named: dict[str, Any] = {"source_urls": {}, "ping_urls": {}, "restore_targets": {}}
    return _GivenSettings(**{**named, **values})


def set_environment(values: Mapping[str, str]) -> None:
    """Set environment variables, for this process and its children."""
    os.environ.update(values)


def libpq_environment() -> Mapping[str, str]:
    """What libpq needs of the environment in a child process, beside what its connection string says.

    That is what its libraries read: authorities, Kerberos, and the home folder with certificates and keys. PG*
    variables are none of it: they are in the connection string by then.
    """
    names = ("HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF", "OPENSSL_MODULES", "LD_LIBRARY_PATH")
    return {name: value for name, value in os.environ.items() if name in names or name.startswith("KRB5")}


def _named_urls(prefix: str) -> dict[str, SecretStr]:
    """The URLs of the variables that begin with `prefix`, by the rest of the variable's name."""
    found = {name.removeprefix(prefix).lower(): url for name, url in os.environ.items() if name.startswith(prefix)}
    return {name: SecretStr(url) for name, url in found.items() if url}


def default_workers(cores: int) -> int:
    """Tables read side by side unless it is set: one for every two cores, at most two.

    Where the source shares a machine of two cores, one worker takes a third of its transactions, a second one half
    (docs/speed.md); beyond two, none of them is faster.
    """
    return 2 if cores >= 4 else 1


def _ping_urls() -> dict[str, SecretStr]:
    """The URLs of single catalogs, by signal and catalog: `start_url_isp`."""
    found = {
        name.removeprefix(_PING_PREFIX).lower(): url
        for name, url in os.environ.items()
        if name.startswith(_PING_PREFIX) and "_URL_" in name
    }
    return {name: SecretStr(url) for name, url in found.items() if url}
