"""Networks that break, stand still or lie: a backup gets over it, or fails once and says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline_tests.faults.deeds import BackUp, Ended
from backup_pipeline_tests.faults.fault import (
    INTERNAL,
    After,
    Answer,
    Answering,
    Before,
    Close,
    Corrupt,
    Effect,
    Fault,
    Moment,
    Reset,
    Sending,
    Stall,
    Throttle,
)
from backup_pipeline_tests.faults.killing import all_kills, assert_recovers, meet
from backup_pipeline_tests.faults.stages import at
from backup_pipeline_tests.faults.world import World

SOLD = 'COPY .*"public"."sold" AS "t" ORDER BY "t"."id" LIMIT'
FULL = "<?xml version='1.0'?><Error><Code>QuotaExceeded</Code><Message>The bucket is full.</Message></Error>"
IMPATIENT = BackUp(answer_seconds=3)

# The last is what it ends with: 0, or an error that has these words.
SOURCE: list[tuple[str, Effect, Moment, str]] = [
    ("startup.*holder", Reset(), Before(), "Can not connect"),
    ("pg_export_snapshot", Close(), After(), "Can not connect"),
    (SOLD, Reset(), Answering(50_000), ""),
    (SOLD, Corrupt(), Answering(20), "another form"),
    ("SELECT count.*goods", Close(), After(), ""),
]
MORE_OF_THE_SOURCE: list[tuple[str, Effect, Moment, str]] = [
    (SOLD, Corrupt(), Answering(0), ""),
    (SOLD, Close(), Answering(50_000), ""),
    ("startup.*schema", Reset(), After(), "pg_dump lost its connection"),
    ("pg_export_snapshot", Stall(), Before(), "no answer came within"),
    ("LOCK TABLE", Stall(), Before(), "came to no end"),
    (SOLD, Stall(), Answering(50_000), ""),
    (SOLD, Throttle(400_000), Answering(0), ""),
]
LEDGER: list[tuple[str, Effect, Moment, str]] = [
    ("INSERT INTO backup_logs", Reset(), Before(), "can not be reached"),
    ("INSERT INTO backup_logs", Stall(), Before(), "no answer came within"),
    ("UPDATE leases SET heartbeat", Reset(), Before(), ""),
    ("UPDATE backup_logs SET file_name", Reset(), Before(), ""),
]
S3: list[tuple[str, Effect, Moment, str]] = [
    ("PUT .*[.]zip", Reset(), Sending(20_000), ""),
    ("PUT .*[.]zip", Corrupt(), Sending(30_000), "XAmzContentSHA256Mismatch"),
    ("GET .*[.]zip", Corrupt(), Answering(30_000), "did not come back"),
    ("PUT .*manifest.json", Answer(507, FULL), Before(), "full"),
]
MORE_OF_THE_LEDGER: list[tuple[str, Effect, Moment, str]] = [
    ("UPDATE backup_logs SET file_name", Stall(), After(), ""),
    ("INSERT INTO leases", Close(), After(), "can not be reached"),
    ("INSERT INTO backup_shapes", Stall(), Before(), ""),
]
MORE_OF_S3: list[tuple[str, Effect, Moment, str]] = [
    ("PUT .*sold.*parquet", Answer(503), Before(), ""),
    ("POST .*uploads", Reset(), Before(), ""),
    ("PUT .*sold.*parquet", Answer(500, INTERNAL), Before(), ""),
    ("PUT .*sold.*parquet", Reset(), Sending(20_000), ""),
    ("PUT .*sold.*parquet", Corrupt(), Sending(20_000), "SHA256Mismatch"),
    ("PUT .*sold.*parquet", Close(), After(), ""),
    ("PUT .*sold.*sheet", Answer(507, FULL), Before(), "Quota"),
    ("PUT .*partition.json", Answer(503), Before(), ""),
    ("PUT .*[.]zip", Answer(507, FULL), Before(), "full"),
    ("GET .*[.]zip", Close(), Answering(30_000), ""),
    ("GET .*[.]zip", Stall(), Before(), ""),
    ("PUT .*manifest.json", Answer(503), Before(), ""),
    ("PUT .*manifest.json", Stall(), Before(), ""),
]


def _assert_ends(ended: Ended, words: str) -> None:
    if words:
        assert ended.exit_code
        assert words in ended.error, ended
    else:
        assert ended.exit_code == 0, ended


def _meet_all(
    world: World, proxy: str, faults: list[tuple[str, Effect, Moment, str]], deed: BackUp, subtests: pytest.Subtests
) -> None:
    for match, effect, moment, words in faults:
        with subtests.test(f"{effect} {moment} {match}"):
            times = None if isinstance(effect, Answer) and effect.status == 507 else 1  # what is full stays full
            _assert_ends(meet(world, proxy, Fault(effect, match, moment, times=times), deed), words)
    assert_recovers(world)


def test_a_source_that_is_cut_off(directory_world: World, subtests: pytest.Subtests) -> None:
    impatient = replace(directory_world, settings={"BACKUP_STATEMENT_TIMEOUT_S": "2"})
    _meet_all(impatient, "source", SOURCE, BackUp(), subtests)


def test_a_ledger_that_is_cut_off(directory_world: World, subtests: pytest.Subtests) -> None:
    _meet_all(directory_world, "ledger", LEDGER, IMPATIENT, subtests)


@pytest.mark.slow
def test_an_s3_that_is_cut_off(s3_world: World, subtests: pytest.Subtests) -> None:
    _meet_all(s3_world, "store", S3, BackUp(), subtests)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_source_and_ledger_are_cut_off_in_other_places(directory_world: World, subtests: pytest.Subtests) -> None:
    impatient = replace(directory_world, settings={"BACKUP_STATEMENT_TIMEOUT_S": "2"})
    _meet_all(impatient, "source", MORE_OF_THE_SOURCE, BackUp(), subtests)
    _meet_all(directory_world, "ledger", MORE_OF_THE_LEDGER, IMPATIENT, subtests)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_s3_that_is_cut_off_in_other_places(s3_world: World, subtests: pytest.Subtests) -> None:
    _meet_all(s3_world, "store", MORE_OF_S3, BackUp(), subtests)


def test_a_ledger_that_stays_away_at_the_end_leaves_a_backup_that_is_found(directory_world: World) -> None:
    """The manifest is there: whoever looks next ends the row as the backup that it is, never as a failure."""
    ends = Fault(Reset(), "UPDATE backup_logs SET file_name")
    ended = meet(directory_world, "ledger", ends, replace(IMPATIENT, again_after=()))
    assert ended.exit_code == 1
    assert [row["status"] for row in directory_world.rows()] == ["running"]
    assert_recovers(directory_world)
    assert [row["status"] for row in directory_world.rows()] == ["success", "success"]


def test_a_byte_of_the_rows_that_turns_on_the_wire_is_seen_by_nobody(directory_world: World) -> None:
    """PostgreSQL's protocol has no checksum: only TLS guards this way. Everything behind it is guarded by SHA-256."""
    ended = meet(directory_world, "source", Fault(Corrupt(), SOLD, Answering(60_000)))
    assert ended.exit_code == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("effect", "moment"), [(Reset(), Before()), (Close(), After())], ids=["reset before", "close after"]
)
def test_a_connection_is_lost_at_every_stage(
    s3_world: World, effect: Effect, moment: Moment, subtests: pytest.Subtests
) -> None:
    for each in all_kills(s3_world, BackUp()):
        if each.after:
            with subtests.test(f"{effect} {moment} {each.proxy}: {each.stage}"):
                meet(s3_world, each.proxy, Fault(effect, at(each.stage), moment))
    assert_recovers(s3_world)
