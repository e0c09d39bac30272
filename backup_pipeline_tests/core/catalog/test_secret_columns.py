"""The eye for secrets: precision and recall over labelled columns, and the kinds that it tells apart."""

from __future__ import annotations

import pytest

from backup_pipeline.core.catalog.secret_columns import secret_kind
from backup_pipeline.core.text import looks_secret
from backup_pipeline_tests.core.labelled_columns import HELD_OUT, TUNED, Labelled, labelled


@pytest.mark.parametrize("lines", [TUNED, HELD_OUT], ids=["tuned", "held out"])
def test_nine_of_ten_are_right_and_nine_of_ten_are_found(lines: str) -> None:
    columns = list(labelled(lines))
    assert len(columns) > 250
    right, false, missed = _judged(columns)
    assert right / (right + len(false)) >= 0.90, f"precision: {false}"
    assert right / (right + len(missed)) >= 0.90, f"recall: {missed}"


def test_by_their_bare_names_they_are_told_apart_worse() -> None:
    """The rule by which a catalog refuses to load is another: it knows no types, and stays as it is."""
    columns = list(labelled(TUNED + HELD_OUT))
    by_name = [column for column in columns if looks_secret(column.column)]
    assert sum(column.secret for column in by_name) / len(by_name) < 0.90


def _judged(columns: list[Labelled]) -> tuple[int, list[str], list[str]]:
    right, false, missed = 0, list[str](), list[str]()
    for column in columns:
        kind = secret_kind(column.table, column.column, column.pg_type)
        name = f"{column.table}.{column.column}"
        if kind and column.secret:
            right += 1
        elif kind:
            false.append(f"{name} ({kind})")
        elif column.secret:
            missed.append(name)
    return right, false, missed


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("organizations", "hmac_key", "key"),
        ("api_keys", "key", "key"),
        ("ApiKeys", "Value", "key"),
        ("users", "backupCodes", "code"),
        ("users", "recovery_codes", "code"),
        ("staff", "pin", "code"),
        ("networks", "psk", "key"),
        ("visits", "session_id", "session"),
        ("requests", "cookie", "cookie"),
        ("grants", "authorization_code", "code"),
        ("checks", "verification_code", "code"),
        ("users", "pass_crypt", "password"),
        ("sources", "dsn", "connection string"),
        ("channels", "webhook_url", "webhook"),
        ("payments", "card_number", "card number"),
        ("customers", "iban", "bank account"),
        ("patients", "ssn", "identity number"),
    ],
)
def test_kinds_of_secrets(table: str, column: str, kind: str) -> None:
    assert secret_kind(table, column, "text") == kind


@pytest.mark.parametrize(
    "pg_type", ["boolean", "integer", "bigint", "numeric(10,2)", "timestamp with time zone", "date"]
)
def test_no_type_without_room_holds_a_secret(pg_type: str) -> None:
    assert secret_kind("users", "password", pg_type) is None
    assert secret_kind("users", "password", "text") == "password"
