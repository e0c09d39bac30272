"""The pages that show backups: true in every state, equal to SQL, for each role, and safe with whatever rows hold."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_pipeline.core.access import Role
from backup_pipeline.core.ledger import Attempt, Status
from backup_pipeline.core.names import Kind, Trigger, new_backup_id
from backup_pipeline.core.schedule import local_date
from backup_pipeline.core.scope import SCHEDULE, Scope
from backup_pipeline.core.verification import Level, Verification
from backup_pipeline.ledger.backups import SqlLedger
from backup_pipeline.operations.health import catalog_statistics
from backup_pipeline.presentation import duration, size
from backup_pipeline_tests.ledger.attempts import attempt
from backup_pipeline_tests.servers.ledgers import ScratchLedger, new_ledger
from backup_pipeline_tests.web.people import Browser, Console, console_over

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTILE = "<script>alert('x')</script>\"><img src=x>\u202e\x1b[31m"
PAGES = ("/", "/admin", "/backups", "/admin/backup", "/calendar", "/charts", "/report")


def made(hours: float, **fields: Any) -> Attempt:
    """A good backup of the shop that began so many hours ago and took 10 seconds."""
    at = NOW - timedelta(hours=hours)
    given: dict[str, Any] = {
        "scope": Scope("shop"),
        "status": Status.SUCCESS,
        "type": Trigger.AUTOMATIC,
        "actor": SCHEDULE,
        "created_at": at,
        "started_at": at,
        "finished_at": at + timedelta(seconds=10 + hours % 7),
        "partition_date": local_date(at, "Asia/Dhaka"),
        "file_name": f"full_{at:%m-%d_%H}.zip",
        "file_size_bytes": int(5_000_000 - 1000 * hours),
        "record_count": int(2500 - hours),
        "table_counts": {"goods": 500, "sold": int(2000 - hours)},
        "table_bytes": {"goods": 900, "sold": 8000},
        "sha256": "ab" * 32,
        "verification": Verification(Level.BYTES, at),
    }
    return attempt(str(new_backup_id(at, Kind.FULL, int(hours * 10))), **(given | fields))


def declare(folder: Path, **fields: object) -> None:
    folder.mkdir(exist_ok=True)
    declared = {
        "catalog": "shop",
        "title": "Corner shop",
        "timezone": "Asia/Dhaka",
        "tables": {"goods": None, "sold": None},
    }
    (folder / "shop.yaml").write_text(yaml.safe_dump({**declared, **fields}))


ROWS = (
    *(made(1 + 24 * day) for day in range(20)),
    made(5, type=Trigger.MANUAL, reason="before the update", status=Status.SUCCESS_WITH_WARNINGS, warnings=("odd",)),
    made(8, status=Status.FAILED, error_message=f"Said {HOSTILE}.", reason=HOSTILE, table_counts={}, file_name=HOSTILE),
    made(0.1, status=Status.RUNNING, finished_at=None, table_counts={}, verification=None),
    made(30, status=Status.DELETED),
)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Console:
    home = tmp_path_factory.mktemp("home")
    declare(home / "catalogs")
    ledger = new_ledger()
    ledger.put(*ROWS)
    made = console_over(ledger, home, catalogs=home / "catalogs")
    made.user("karim", Role.SUPER_ADMIN)
    return made


@pytest.fixture(scope="module")
def karim(console: Console) -> Browser:
    return console.signed_in(next(user for user in [*console.access.access.users.list()] if user.name == "karim"))


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[ScratchLedger, Browser]:
    """A console over an empty ledger."""
    declare(tmp_path / "catalogs")
    ledger = new_ledger()
    console = console_over(ledger, tmp_path, catalogs=tmp_path / "catalogs")
    return ledger, console.signed_in(console.user("karim", Role.SUPER_ADMIN))


@pytest.mark.acceptance("2.1", "2.29", "4.23")
@pytest.mark.parametrize("path", PAGES)
def test_without_a_login_every_page_leads_to_it(console: Console, path: str) -> None:
    answer = console.browser().get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize("path", [*PAGES, "/backups/{newest}", "/backups/{older}"])  # ids differ from run to run
def test_a_page_is_whole_safe_and_light(karim: Browser, path: str) -> None:
    answer = karim.get(path.format(newest=ROWS[0].backup_id, older=ROWS[21].backup_id))
    assert answer.status_code == 200, answer.text
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:|<img src=x", answer.text) == []
    assert "\u202e" not in answer.text
    assert "\x1b" not in answer.text
    assert answer.text.count("<h1") == 1
    assert "backup-pipeline " in answer.text  # its twin on the command line
    assert int(answer.headers["content-length"]) < 30_000


def test_hostile_rows_are_shown_as_text(karim: Browser) -> None:
    text = karim.get("/backups?status=failed").text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    assert "\\u202e\\x1b[31m" in text


@pytest.mark.acceptance("2.12")
def test_the_four_tiles_are_what_sql_counts(console: Console, karim: Browser) -> None:
    text = karim.get("/backups").text
    tiles = re.findall(r'<p class="label">.*?</svg>([^<]+)</p><p class="value">([^<]+)</p>', text, re.DOTALL)
    there = [row for row in ROWS if row.status.good]
    assert tiles == [
        ("Total backups", str(len(there))),
        ("Manual", "1"),
        ("Automatic", "20"),
        ("Total size", size(sum(row.file_size_bytes or 0 for row in there))),
    ]


@pytest.mark.acceptance("0.23", "2.15", "2.16")
@pytest.mark.parametrize(
    ("query", "badges"),
    [
        ("?status=completed&type=manual", {"manual manual", "good Completed", "warning warnings"}),
        ("?status=running", {"automatic automatic", "active In Progress"}),
        ("?status=failed", {"automatic automatic", "failure Failed"}),
        ("?status=deleted", {"automatic automatic", "quiet Deleted"}),
    ],
)
def test_types_and_statuses_are_badges_with_word_shape_and_colour(karim: Browser, query: str, badges: set[str]) -> None:
    table = re.search(r"<tbody>.*</tbody>", karim.get(f"/backups{query}").text, re.DOTALL)
    assert table is not None
    found = re.findall(r'<span class="badge (\w+)"><svg class="icon".*?</svg>([^<]+)</span>', table[0])
    assert {f"{tone} {word}" for tone, word in found} == badges


@pytest.mark.acceptance("0.16", "2.14", "2.17")
def test_pages_of_the_list_show_each_row_once(karim: Browser) -> None:
    seen: list[str] = []
    path: str | None = "/backups?status=all&system=shop"
    for _ in range(5):
        assert path is not None
        text = karim.get(path).text
        seen += re.findall(r'class="row-link" href="/backups/([^"]+)"', text)
        following = re.search(r'href="([^"]+)" rel="next"', text)
        path = following[1].replace("&amp;", "&") if following else None
        if path is None:
            break
    assert seen == [row.backup_id for row in sorted(ROWS, key=lambda row: row.created_at, reverse=True)]


@pytest.mark.parametrize("query", ["?status=nonsense", "?since=yesterday&until=0001-01-01", "?type=x&q=%25"])
def test_filters_that_are_none_filter_nothing_else(karim: Browser, query: str) -> None:
    assert karim.get(f"/backups{query}").status_code == 200


@pytest.mark.parametrize("query", ["?after=nonsense", "?system=none", f"?q={'x' * 300}"])
def test_a_wrong_address_says_so(karim: Browser, query: str) -> None:
    answer = karim.get(f"/backups{query}")
    assert answer.status_code in {404, 422}
    assert "What to do" in answer.text


def test_an_unknown_id_and_one_that_is_none_answer_alike(karim: Browser) -> None:
    texts = set()
    for name in ("20261130T105536Z-full-ab001bc3", "nonsense"):
        answer = karim.get(f"/backups/{name}")
        trouble = answer.text[answer.text.index('<div class="trouble">') :].partition("</main>")[0]
        texts.add(trouble.replace(name, "ID").replace(answer.headers["x-request-id"], "REQUEST"))
    assert len(texts) == 1
    assert karim.get("/backups/nonsense").status_code == 404


@pytest.mark.acceptance("1.16", "4.27")
def test_a_backup_shows_its_tables_with_the_change_against_the_usual(karim: Browser) -> None:
    text = karim.get(f"/backups/{ROWS[0].backup_id}").text
    sold = re.search(r'lead-cell">(?:<a[^>]*>)?sold(?:</a>)?</td>(.*?)</tr>', text, re.DOTALL)
    assert sold is not None
    # The nine good backups before it: 5 hours ago, and 25, 49, … 193.
    assert re.findall(r">([^<]+)</td>", sold[1]) == ["1,999", "+96", "1,903", "8.0 kB"]
    assert "median of the 9 good full backups before" in text
    assert "ab" * 32 in text


@pytest.mark.acceptance("2.22")
def test_durations_are_those_of_the_statistics(karim: Browser) -> None:
    text = karim.get("/charts?days=90").text
    counted = catalog_statistics([row for row in ROWS if row.status.good], Scope("shop"), None, now=NOW, days=90)
    assert counted.durations is not None
    assert f"Median {duration(counted.durations.median)}, 95 % within {duration(counted.durations.p95)}." in text
    figure = text[text.index("<h2>Duration of each backup") :].partition("</figure>")[0]
    assert figure.count('<td data-label="Duration"') == counted.backups


@pytest.mark.acceptance("2.36")
def test_the_overview_is_green_only_when_everything_is(fresh: tuple[ScratchLedger, Browser]) -> None:
    ledger, browser = fresh

    def hero() -> tuple[str, str]:
        found = re.search(r'<section class="hero (\w+)".*?<h1>(.*?)</h1>', browser.get("/").text, re.DOTALL)
        assert found is not None
        return found[1], found[2]

    assert hero() == ("warning", "Corner shop has no backup yet.")
    ledger.put(made(1))
    assert hero() == ("good", "Everything is protected.")
    ledger.put(made(0.5, status=Status.FAILED, error_message="No."))
    assert hero() == ("warning", "1 attempt has failed since the newest good backup of Corner shop.")
    ledger.put(made(0.2))
    assert hero() == ("good", "Everything is protected.")
    ledger.verified(made(0.2).backup_id, Verification(Level.PRESENT, NOW, passed=False))
    tone, title = hero()
    assert tone == "failure"
    assert title.startswith("The newest backup of Corner shop, ")


def test_an_overdue_system_is_said_first(fresh: tuple[ScratchLedger, Browser]) -> None:
    ledger, browser = fresh
    ledger.put(made(24 * 5))
    text = browser.get("/").text
    assert '<section class="hero failure"' in text
    assert "<h1>Corner shop is overdue.</h1>" in text
    assert "Everything is protected" not in text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/backups", "No backup yet"),
        ("/backups?status=failed", "Nothing fits these filters"),
        ("/calendar", "the first backup begins the calendar"),
        ("/charts", "No backup to draw"),
        ("/report", "none"),
    ],
)
def test_an_empty_page_says_why_and_what_is_next(fresh: tuple[ScratchLedger, Browser], path: str, words: str) -> None:
    assert words in fresh[1].get(path).text


def test_today_can_still_be_run_and_other_days_say_why_not(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("gaps")
    declare(home / "catalogs")
    ledger = new_ledger()
    console = console_over(ledger, home, catalogs=home / "catalogs")
    rahim, nila = console.signed_in(console.user("rahim", Role.ADMIN)), console.signed_in(console.user("nila"))
    today = local_date(datetime.now(UTC), "Asia/Dhaka")
    offer = re.compile(r'<ul class="plain-list offers">.*?</ul>', re.DOTALL)

    def offered(browser: Browser) -> list[str]:
        [found] = offer.findall(browser.get("/calendar").text)
        return re.findall(r"<li>.*?</li>", found, re.DOTALL)

    lost = replace(made(72), status=Status.MISSED, due_at=made(72).created_at, finished_at=None, table_counts={})
    ledger.put(made(96), lost)
    [now, *before] = offered(rahim)
    assert f"Today, {today.day} " in now
    assert 'name="verb" value="backup"' in now
    assert "Run now" in now
    assert len(before) >= 3
    assert all("missed" in each and "Can not be run any more" in each and "Run now" not in each for each in before)
    assert "You may not run backups" in offered(nila)[0]
    assert "Run now" not in "".join(offered(nila))
    running = made(0.1, status=Status.RUNNING, finished_at=None, table_counts={}, verification=None)
    ledger.put(replace(running, partition_date=today))
    assert "A full backup is under way." in offered(rahim)[0]
    ledger.put(replace(made(0.2), partition_date=today, status=Status.FAILED, error_message="no room"))
    ledger.execute(f"UPDATE backup_logs SET status = 'failed' WHERE backup_id = '{running.backup_id}'")
    assert "Run now" in offered(rahim)[0]
    ledger.put(replace(made(0.3), partition_date=today))
    assert "Today&#39;s backup is there." in offered(rahim)[0]
    assert "Run now" not in "".join(offered(rahim))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_buttons_are_shown_to_who_may_press_them(console: Console, role: Role) -> None:
    browser = console.signed_in(console.user(f"of {role}", role))
    text = browser.get("/backups").text + browser.get("/").text + browser.get(f"/backups/{ROWS[0].backup_id}").text
    may = role is Role.ADMIN
    assert ('name="verb" value="backup"' in text) == may
    assert ('name="verb" value="verify"' in text) == may
    assert ('aria-label="Download ' in text) == may


def test_a_page_asks_as_often_with_many_rows_as_with_few(
    fresh: tuple[ScratchLedger, Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, browser = fresh
    begun = 0
    inner = SqlLedger._transaction

    def counted(self: SqlLedger) -> Any:
        nonlocal begun
        begun += 1
        return inner(self)

    monkeypatch.setattr(SqlLedger, "_transaction", counted)

    def asked(path: str) -> int:
        nonlocal begun
        begun = 0
        assert browser.get(path).status_code == 200
        return begun

    ledger.put(made(1))
    few = [asked(path) for path in PAGES]
    ledger.put(*(made(2 + hours) for hours in range(100)))
    assert [asked(path) for path in PAGES] == few
    assert max(few) < 20
