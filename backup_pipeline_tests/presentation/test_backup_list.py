"""The list of backups fits the terminal it is shown in, and says what went wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from backup_pipeline.core.ledger import Attempt, Hold, Status
from backup_pipeline.core.names import Kind, Trigger
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.presentation.backup import backups_document
from backup_pipeline_tests.actors import RAHIM
from backup_pipeline_tests.presentation.drawing import in_terminal

AT = datetime(2026, 11, 20, 18, tzinfo=UTC)
SELECTIVE = "20261120T180000Z-selective-1f3a9c2e"


def attempt(backup_id: str = SELECTIVE, **changed: object) -> Attempt:
    fields = {
        "backup_id": backup_id,
        "scope": Scope("isp_customers"),
        "kind": Kind.SELECTIVE,
        "type": Trigger.MANUAL,
        "status": Status.SUCCESS_WITH_WARNINGS,
        "partition_date": date(2026, 11, 21),
        "created_at": AT,
        "started_at": AT,
        "actor": RAHIM,
        "reason": "before the [new] price change of next month, asked for by accounting and by nobody else",
        "late": True,
        "consistent": False,
        "record_count": 12_251_477,
        "file_size_bytes": 31_300_000,
        "verification": Verification(Level.CONTENTS, AT),
        **changed,
    }
    return Attempt(**fields)  # type: ignore[arg-type]


def shown(*rows: Attempt, width: int) -> list[str]:
    """The lines of the list in a terminal of `width` columns."""
    return in_terminal(backups_document(rows, AT + timedelta(days=3)), width=width).splitlines()


def test_at_100_columns_ids_are_whole_and_nothing_is_lost() -> None:
    lines = shown(attempt(), width=100)
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 3 + 6
    assert [line.split()[0] for line in lines if "2026" in line.split()[0]] == [SELECTIVE]
    words = " ".join(lines).split()
    told = [
        "isp_customers",
        "selective",
        "2026-11-21",
        "success",
        "warnings",
        "12,251,477",
        "rahim",
        "late,",
        "mixed",
        "[new]",
        "2,",
        "ago",
    ]
    assert [part for part in told if part not in words] == []


def test_the_last_verification_is_told_with_its_level_and_age() -> None:
    rows = (
        attempt(),
        attempt(verification=Verification(Level.BYTES, AT, passed=False)),
        attempt(verification=Verification(None, AT, passed=False)),
    )
    told = shown(*rows, width=200)[1:]
    wanted = ("2, 3 days ago ", "FAILED 2026-11-20 ", "FAILED 2026-11-20 ")
    assert [part in line for part, line in zip(wanted, told, strict=True)] == [True] * 3
    assert "FAILED" not in shown(attempt(verification=None), width=200)[1]


def test_where_there_is_room_each_backup_is_one_line() -> None:
    assert len(shown(attempt(), attempt(status=Status.FAILED, error_message="e" * 500), width=200)) == 3


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELED])
@pytest.mark.parametrize("width", [100, 200])
def test_what_went_wrong_stands_in_place_of_the_reason(status: Status, width: int) -> None:
    row = attempt(status=status, error_message="No room in /tmp. It has 3 MB.\nWhat to do: Make room.")
    words = " ".join(shown(row, width=width)).split()
    assert {"No", "room", "/tmp."} <= set(words)
    assert not {"It", "What", "price"} & set(words)


def test_when_a_backup_expires_is_told_or_that_it_is_held() -> None:
    expiring = attempt(expires_at=AT + timedelta(days=30))
    held = attempt(expires_at=AT + timedelta(days=30), hold=Hold(RAHIM, "the audit"))
    released = attempt(hold=Hold(RAHIM, "over", AT))
    gone = attempt(status=Status.EXPIRED, expires_at=AT + timedelta(days=30))
    head, *lines = shown(expiring, held, released, gone, width=220)
    assert "Expires" in head
    assert ["2026-12-20" in line for line in lines] == [True, False, False, False]
    assert [" held " in line for line in lines] == [False, True, False, False]
    assert "2026-12-20" in " ".join(shown(expiring, width=100))
