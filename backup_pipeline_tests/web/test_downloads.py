"""Downloads by a link: the manifest's bytes or nothing whole, for an hour, until revoked, each written down."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import openpyxl
import pytest

from backup_pipeline.core.access import Role, User, UserChange
from backup_pipeline.core.access.downloads import LINK_LIFE
from backup_pipeline.core.access.sessions import digest
from backup_pipeline.core.errors import VerificationError
from backup_pipeline.core.layout import RENDERINGS
from backup_pipeline.core.runs import RequestChange, RequestStatus, RunRequest, RunVerb
from backup_pipeline.operations.access.download_links import withheld
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.wiring.addresses import work_dir
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.operations.conftest import Made, made, shop_backup, shop_url
from backup_pipeline_tests.servers.swift import SwiftServer
from backup_pipeline_tests.web.people import Browser, Console, console_over

__all__ = ["made", "shop_backup", "shop_url"]


def _console(made: Made, home: Path) -> Console:
    ports = partial(ports_for_test, store=made.store, spool=home / "work")
    return console_over(made.ledger, home, ports=ports)


def test_from_s3_it_is_the_same(made: Made, tmp_path: Path, s3_server: SwiftServer, s3_bucket: str) -> None:
    store = S3Store(s3_bucket, "backups", s3_server.settings)
    for stored in made.store.list(""):
        store.put(stored.key, [made.store.get(stored.key)])
    ports = partial(ports_for_test, store=store, spool=tmp_path / "work")
    console = console_over(made.ledger, tmp_path, ports=ports)
    browser = console.signed_in(console.user("karim", Role.ADMIN))
    assert hashlib.sha256(browser.get(_link(browser, made)).content).hexdigest() == made.manifest.bundle.sha256


@pytest.fixture
def console(made: Made, tmp_path: Path) -> Console:
    return _console(made, tmp_path)


@pytest.fixture
def karim(console: Console) -> User:
    return console.user("karim", Role.ADMIN)


def _link(browser: Browser, made: Made, form: str = "zip") -> str:
    answer = browser.post(f"/backups/{made.attempt.backup_id}/download", data={"form": form})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


@pytest.mark.acceptance("0.17", "2.18")
def test_a_click_gives_the_bytes_that_manifest_and_ledger_name(made: Made, console: Console, karim: User) -> None:
    browser = console.signed_in(karim)
    answer = browser.get(_link(browser, made))
    bundle = made.manifest.bundle
    assert answer.content == made.store.get(made.bundle)
    assert hashlib.sha256(answer.content).hexdigest() == bundle.sha256 == made.attempt.sha256
    assert answer.headers["content-length"] == str(bundle.bytes)
    assert answer.headers["x-checksum-sha256"] == bundle.sha256
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(bundle.sha256)).decode()}:"
    assert f'attachment; filename="{bundle.name}"' in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.acceptance("2.33")
def test_who_downloaded_what_is_written_down(made: Made, console: Console, karim: User) -> None:
    browser = console.signed_in(karim)
    console.browser(address="10.1.2.3").get(_link(browser, made))
    download, link = console.ledger.audits(made.attempt.backup_id, limit=2)
    assert (download.action, str(download.actor), download.address) == ("download", "person:karim", "10.1.2.3")
    assert (download.detail["file_name"], download.detail["bytes"]) == (
        made.manifest.bundle.name,
        made.manifest.bundle.bytes,
    )
    assert (link.action, link.actor, link.detail["number"]) == ("link", karim.actor, download.detail["link"])
    page = browser.get(f"/backups/{made.attempt.backup_id}").text
    assert "from 10.1.2.3" in page
    assert ">download</td>" in page


def test_nothing_reads_the_backup_once_the_bytes_are_sent(made: Made, console: Console, karim: User) -> None:
    browser = console.signed_in(karim)
    browser.get(_link(browser, made))
    assert console.ledger.readings.list() == []


@pytest.mark.acceptance("0.18", "2.20", "2.34")
def test_at_59_minutes_it_works_and_at_61_it_does_not(made: Made, console: Console, karim: User) -> None:
    path = _link(console.signed_in(karim), made)
    console.clock.move(minutes=59)
    assert console.browser().get(path).status_code == 200
    console.clock.move(minutes=2)
    answer = console.browser().get(path)
    assert answer.status_code == 403
    assert "This link worked until" in answer.text
    assert timedelta(hours=1) == LINK_LIFE


@pytest.mark.acceptance("2.34")
def test_after_it_was_revoked_nobody_uses_it(made: Made, console: Console, karim: User) -> None:
    browser = console.signed_in(karim)
    path = _link(browser, made)
    [link] = console.ledger.downloads.list(made.attempt.backup_id)[:1]
    answer = browser.post(f"/links/{link.number}/revoke")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/backups/{made.attempt.backup_id}#download")
    refused = console.browser().get(path)
    assert refused.status_code == 403
    assert "was revoked" in refused.text
    assert console.ledger.audits(made.attempt.backup_id, limit=1)[0].action == "link revoked"


@pytest.mark.parametrize("change", [UserChange(disabled=True), UserChange(role=Role.VIEWER)])
def test_who_may_not_download_any_more_gives_nothing_by_an_older_link(
    made: Made, console: Console, karim: User, change: UserChange
) -> None:
    path = _link(console.signed_in(karim), made)
    console.access.access.users.change(karim.number, change, console.clock())
    answer = console.browser().get(path)
    assert answer.status_code == 403
    assert "may not download any more" in answer.text


@pytest.mark.acceptance("2.34")
@pytest.mark.parametrize("token", ["x", "A" * 43, "%00", "..%2f..%2fetc"])
def test_a_link_that_is_none_is_not_there(console: Console, token: str) -> None:
    assert console.browser().get(f"/d/{token}").status_code == 404


@pytest.mark.acceptance("2.34")
def test_the_ledger_keeps_no_token(made: Made, console: Console, karim: User) -> None:
    token = _link(console.signed_in(karim), made).removeprefix("/d/")
    assert len(token) >= 43
    assert console.ledger.downloads.of_token(digest(token)) is not None
    assert console.ledger.downloads.of_token(token) is None


@pytest.mark.acceptance("0.6", "2.29")
def test_a_viewer_downloads_only_with_the_switch(made: Made, console: Console) -> None:
    path = f"/backups/{made.attempt.backup_id}/download"
    assert console.signed_in(console.user("vera")).post(path).status_code == 403
    assert console.signed_in(console.user("vito", may_download=True)).post(path).status_code == 303
    assert console.browser().post(path).status_code == 303
    assert console.browser().post(path).headers["location"].startswith("/login")


def test_a_link_for_somebody_else_is_shown_once(made: Made, console: Console, karim: User) -> None:
    browser = console.signed_in(karim)
    shown = browser.post(f"/backups/{made.attempt.backup_id}/download", data={"show": "true"}).text
    address = re.search(r'<code id="address">http://127.0.0.1:3001(/d/[\w-]+)</code>', shown)
    assert address is not None
    assert console.browser().get(address[1]).status_code == 200
    assert address[1] not in browser.get(f"/backups/{made.attempt.backup_id}").text


def test_head_says_what_there_is_without_the_bytes(made: Made, console: Console, karim: User) -> None:
    path = _link(console.signed_in(karim), made)
    answer = asyncio.run(console.browser()._ask("HEAD", path, {}))
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(made.manifest.bundle.bytes))
    assert answer.content == b""


def test_what_is_damaged_never_arrives_whole(
    made: Made, console: Console, karim: User, caplog: pytest.LogCaptureFixture
) -> None:
    path = _link(console.signed_in(karim), made)
    data = bytearray(made.store.get(made.bundle))
    data[len(data) // 2] ^= 1
    made.store.put(made.bundle, [bytes(data)])
    with pytest.raises(RuntimeError, match="already started"):  # the connection ends before the last bytes
        console.browser().get(path)
    assert "is damaged: its SHA-256" in caplog.text
    assert path.removeprefix("/d/") not in caplog.text


def test_the_last_chunk_waits_until_all_were_compared() -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"a", b"b", b"c")
        raise VerificationError("damaged")

    with pytest.raises(VerificationError):
        list(withheld(chunks()))
    assert list(withheld(iter((b"a", b"b")))) == [b"a", b"b"]
    assert list(withheld(iter(()))) == []
    sent = withheld(chunks())
    assert [next(sent), next(sent)] == [b"a", b"b"]


@pytest.mark.acceptance("0.4", "1.8", "1.10")
def test_small_renderings_are_made_at_once_and_leave_nothing(
    made: Made, console: Console, karim: User, tmp_path: Path
) -> None:
    browser = console.signed_in(karim)
    xlsx = browser.get(_link(browser, made, "xlsx"))
    assert openpyxl.load_workbook(io.BytesIO(xlsx.content)).sheetnames
    assert hashlib.sha256(xlsx.content).hexdigest() == xlsx.headers["x-checksum-sha256"]
    assert browser.get(_link(browser, made, "csv")).content.startswith(b"\xef\xbb\xbf")
    assert json.loads(browser.get(_link(browser, made, "json")).content)
    assert [*(tmp_path / "work").rglob("*")] == []
    assert console.ledger.audits(made.attempt.backup_id, limit=1)[0].detail["rendering"] == "json"
    assert zipfile.is_zipfile(io.BytesIO(xlsx.content))


def test_a_form_that_is_none_is_a_wrong_request(made: Made, console: Console, karim: User) -> None:
    answer = console.signed_in(karim).post(f"/backups/{made.attempt.backup_id}/download", data={"form": "<exe>"})
    assert answer.status_code == 422
    assert "&lt;exe&gt;" in answer.text


def test_what_a_run_has_made_on_another_machine_is_named_with_that_machine(
    made: Made, console: Console, karim: User
) -> None:
    """A rendering lies where its run was: without the file there is no button that could only fail."""
    now, backup_id = console.clock(), made.attempt.backup_id
    detail = {"backup_id": backup_id, "rendering": "csv"}
    row = RunRequest(uuid4(), made.attempt.scope, RunVerb.RENDER, karim.actor, now, detail=detail)
    console.ledger.run_requests.add(row)
    until = (now + timedelta(hours=1)).isoformat()
    result = {"file": "all.csv", "bytes": 5, "sha256": "x", "expires_at": until, "host": "worker-2"}
    change = RequestChange(RequestStatus.DONE, finished_at=now, result=result)
    console.ledger.run_requests.change(row.id, change)
    page = console.signed_in(karim).get(f"/backups/{backup_id}").text
    assert "on another machine, worker-2, and lies there" in page
    assert f"backup-pipeline download {backup_id} --as csv" in page
    assert str(row.id) not in page
    folder = work_dir(console.settings) / RENDERINGS / str(row.id)
    folder.mkdir(parents=True)
    (folder / "all.csv").write_text("a,b\r\n")
    page = console.signed_in(karim).get(f"/backups/{backup_id}").text
    assert f'name="run" value="{row.id}"' in page
    assert "worker-2" not in page
