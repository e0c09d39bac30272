"""What every answer has: an id, headers that keep other sites out, and for an error a page that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response

from backup_pipeline.core.errors import (
    LedgerUnavailableError,
    LockedError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from backup_pipeline.settings import Settings
from backup_pipeline.web import create_app, rendering
from backup_pipeline.web.answers import POLICY
from backup_pipeline.web.rendering import local_path, redirect
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.web.visiting import asked

HOSTILE = "<script>alert(1)</script> \u202e postgresql://app:hunter2@db/shop"
_ERRORS = {
    "notfound": NotFoundError(HOSTILE, do="Look <b>elsewhere</b>."),
    "refused": RefusedError("No."),
    "usage": UsageError("Not so."),
    "locked": LockedError("Somebody else."),
    "away": LedgerUnavailableError("Away."),
    "crash": ZeroDivisionError("a secret of the inside"),
}


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    made = create_app(Settings(home=tmp_path), ports_for_test())
    router = APIRouter()

    @router.get("/fails/{name}")
    def fails(name: str) -> Response:
        raise _ERRORS[name]

    @router.get("/leads")
    def leads() -> Response:
        raise HTTPException(303, headers={"Location": "/login?next=/leads"})

    @router.post("/form")
    def form(request: Request) -> Response:
        return redirect(request, "/nowhere", HOSTILE, tone="warning")

    made.include_router(router)
    return made


@pytest.mark.acceptance("2.32")
@pytest.mark.parametrize(
    ("name", "status"),
    [("notfound", 404), ("refused", 403), ("usage", 422), ("locked", 409), ("away", 503), ("crash", 500)],
)
def test_an_error_is_a_page_with_its_request_id_and_never_a_stack(app: FastAPI, name: str, status: int) -> None:
    answer = asked(app, f"/fails/{name}")
    assert answer.status_code == status
    assert answer.headers["x-request-id"] in answer.text
    assert 'data-copy="#request-id"' in answer.text
    assert "What to do" in answer.text or not getattr(_ERRORS[name], "do", "x")
    assert "Traceback" not in answer.text
    assert "a secret of the inside" not in answer.text


@pytest.mark.acceptance("2.32")
def test_what_an_error_quotes_acts_on_nothing_and_keeps_no_password(app: FastAPI) -> None:
    text = asked(app, "/fails/notfound").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\u202e" in text
    assert "&lt;b&gt;elsewhere" in text
    assert "hunter2" not in text


def test_a_program_gets_an_error_as_json(app: FastAPI) -> None:
    answer = asked(app, "/fails/locked", headers={"Accept": "application/json"})
    assert answer.json() == {"error": "Somebody else.", "do": "", "request_id": answer.headers["x-request-id"]}


@pytest.mark.parametrize("path", ["/fails/usage", "/fails/crash", "/no/such/page", "/healthz", "/static/console.css"])
def test_every_answer_keeps_other_sites_out(app: FastAPI, path: str) -> None:
    headers = asked(app, path).headers
    assert headers["content-security-policy"] == POLICY
    assert "unsafe-inline" not in POLICY
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")


def test_pages_hold_no_inline_script_or_style(app: FastAPI) -> None:
    text = asked(app, "/no/such/page").text
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text) == []


def test_files_are_kept_for_ever_under_an_address_that_changes_with_them(app: FastAPI) -> None:
    [address] = re.findall(r'href="(/static/console.css\?v=[0-9a-f]{12})"', asked(app, "/no/such/page").text)
    answer = asked(app, address)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asked(app, "/static/../rendering.py").status_code == 404


def test_a_dependency_leads_elsewhere(app: FastAPI) -> None:
    answer = asked(app, "/leads")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/leads")


def test_after_a_form_the_next_page_shows_its_word_once_as_text(app: FastAPI) -> None:
    answer = asked(app, "/form", "POST")
    assert (answer.status_code, answer.headers["location"]) == (303, "/nowhere")
    after = asked(app, "/nowhere", cookies={"flash": answer.cookies["flash"]})
    assert '<div class="flash warning" role="status">' in after.text
    assert "&lt;script&gt;" in after.text
    assert "<script>alert" not in after.text
    assert 'flash=""' in after.headers["set-cookie"]
    assert 'class="flash' not in asked(app, "/nowhere").text


@pytest.mark.parametrize("forged", ["", "x", "WyJmYWlsdXJlIl0=", "bnVsbA==", "WyI8Yj4iLCAieCJd"])
def test_a_forged_word_is_none(app: FastAPI, forged: str) -> None:
    assert 'class="flash' not in asked(app, "/nowhere", cookies={"flash": forged}).text


@pytest.mark.parametrize(
    "url", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "x", "/a\r\nb"]
)
def test_nobody_is_led_to_another_site(url: str) -> None:
    assert local_path(url) == "/"


def test_a_path_of_ours_stays() -> None:
    assert local_path("/backups?status=failed&after=2#x") == "/backups?status=failed&after=2#x"


def test_there_is_one_script_and_one_style_sheet_and_both_are_small() -> None:
    folder = Path(rendering.__file__).parent / "static"
    assert sorted(path.name for path in folder.iterdir()) == ["console.css", "console.js", "icon.svg"]
    script, style = ((folder / name).read_text() for name in ("console.js", "console.css"))
    assert script.count("\n") < 250
    assert len(script) + len(style) < 48_000
    assert re.findall(r"https?://|@import|innerHTML|eval\(", script + style) == []
