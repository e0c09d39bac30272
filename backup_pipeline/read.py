"""Tables of backups in notebooks and scripts: `from backup_pipeline import read_partition`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from backup_pipeline.core.errors import UsageError
from backup_pipeline.formats.tables import as_pandas
from backup_pipeline.operations.read import ReadRequest
from backup_pipeline.operations.read import read_partition as read
from backup_pipeline.settings import Settings
from backup_pipeline.wiring.addresses import utc_now
from backup_pipeline.wiring.stores import open_formats, open_settings_store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Form = Literal["pandas", "arrow"]
_FORMS = ("pandas", "arrow")


@overload
def read_partition(
    catalog: str,
    table: str,
    date: dt.date | str | None = None,
    *,
    as_: Literal["pandas"] = "pandas",
    store: str | None = None,
    identity_file: Path | str | None = None,
) -> pd.DataFrame: ...


@overload
def read_partition(
    catalog: str,
    table: str,
    date: dt.date | str | None = None,
    *,
    as_: Literal["arrow"],
    store: str | None = None,
    identity_file: Path | str | None = None,
) -> pa.Table: ...


def read_partition(
    catalog: str,
    table: str,
    date: dt.date | str | None = None,
    *,
    as_: Form = "pandas",
    store: str | None = None,
    identity_file: Path | str | None = None,
) -> pd.DataFrame | pa.Table:
    """The rows of a table as they were exported on `date` (`2026-11-21`), or of its newest partition.

    As a DataFrame whose columns keep their Arrow types, so that nothing is lost (docs/reading.md), or as an Arrow
    table with `as_="arrow"`. Every file is compared with the SHA-256 of the partition's record before anything is
    given back, and the record's seal is checked where seals are. The DataFrame's `attrs`, the Arrow
    table's metadata, say which partition it is: `partition_date`, `snapshot_at`, `backup_id` and more.

    `store` (`file:///path` or `s3://bucket/prefix`) and `identity_file` (the private key of encrypted backups) stand
    in for BACKUP_STORE and BACKUP_AGE_IDENTITY_FILE; all else comes from the settings (docs/configuration.md).

    Raises what `backup_pipeline.core.errors` has: NotFoundError, with what there is, for an unknown catalog, table or
    date; VerificationError when the stored bytes are not those that were written; DecryptError without the key;
    LockedError when a backup replaced the partition meanwhile; UsageError for arguments that can not be.
    """
    if as_ not in _FORMS:
        message = f"A table can not be read as {as_!r}."
        raise UsageError(message, do=f"Use one of {', '.join(_FORMS)}.")
    request = ReadRequest(catalog, table, _day(date))
    settings = _settings(store, identity_file)
    rows = read(request, store=open_settings_store(settings), formats=open_formats(settings), clock=utc_now)
    return rows if as_ == "arrow" else as_pandas(rows)


def _day(date: dt.date | str | None) -> dt.date | None:
    """A date as it is, or as people write it; UsageError for a time: of which zone would its date be?"""
    if date is None or (isinstance(date, dt.date) and not isinstance(date, dt.datetime)):
        return date
    try:
        return dt.datetime.strptime(str(date), "%Y-%m-%d").date()  # noqa: DTZ007  a date has no zone
    except ValueError:
        message = f"{str(date)!r} is not a date."
        raise UsageError(message, do="Write it as 2026-11-21: the date of the backup in its catalog's zone.") from None


def _settings(store: str | None, identity_file: Path | str | None) -> Settings:
    changes: dict[str, object] = {}
    if store is not None:
        changes["store"] = store
    if identity_file is not None:
        changes |= {"age_identity_file": Path(identity_file).expanduser(), "age_identity": None}
    return Settings().model_copy(update=changes)
