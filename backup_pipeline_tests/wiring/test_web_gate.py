"""Who may ask our web servers for what: every way in that a page of another site has, and none that people need."""

from __future__ import annotations

import pytest

from backup_pipeline.wiring.web_gate import AllowedHosts, WebRequest, allowed_hosts, refusal

LOCAL = allowed_hosts("127.0.0.1", ())
PROXIED = allowed_hosts("0.0.0.0", ["backup.example.com", "ops:8443"], "https://dagster.example.com/")
JSON = {"content-type": "application/json"}


def status(request: WebRequest, allowed: AllowedHosts = LOCAL) -> int | None:
    refused = refusal(request, allowed)
    return refused.status if refused else None


def asked(method: str = "GET", path: str = "/", query: str = "", **headers: str) -> WebRequest:
    """A request for `127.0.0.1:3000` unless `host` says another; an underscore stands for a hyphen."""
    named = {"host": "127.0.0.1:3000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return WebRequest(method, path, query, {name: [value] for name, value in named.items()})


@pytest.mark.parametrize(
    ("host", "local", "proxied"),
    [
        ("127.0.0.1:3000", None, None),
        ("127.0.0.1", None, None),
        ("LOCALHOST:3700", None, None),
        ("[::1]:3000", None, None),
        ("evil.example", 421, 421),
        ("evil.example:3000", 421, 421),
        ("127.0.0.1.evil.example", 421, 421),
        ("localhost.evil.example:3000", 421, 421),
        ("127.0.0.1@evil.example", 421, 421),
        ("evil.example#127.0.0.1", 421, 421),
        ("evil.example/127.0.0.1", 421, 421),
        ("", 421, 421),
        ("[::1", 421, 421),
        ("localhost:x", 421, 421),
        ("192.168.1.7:3000", 421, None),  # it listens there, and no name can be bound to a number
        ("backup.example.com", 421, None),
        ("backup.example.com:443", 421, None),
        ("ops", 421, None),
        ("dagster.example.com", 421, None),
    ],
)
def test_only_our_own_names_are_answered(host: str, local: int | None, proxied: int | None) -> None:
    assert (status(asked(host=host)), status(asked(host=host), PROXIED)) == (local, proxied)


def test_a_request_names_one_host() -> None:
    assert status(WebRequest("GET", "/")) == 421
    assert status(WebRequest("GET", "/", headers={"host": ["127.0.0.1", "evil.example"]})) == 421


@pytest.mark.parametrize("method", ["POST", "WEBSOCKET"])
@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),  # a program: it could write what it likes
        ({"origin": "http://127.0.0.1:3000"}, None),
        ({"origin": "https://127.0.0.1:3000"}, None),  # a proxy speaks TLS for us
        ({"origin": "http://127.0.0.1:3000", "sec_fetch_site": "same-origin"}, None),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8080"}, 403),  # another program of this machine
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:3000.evil.example"}, 403),
        ({"referer": "http://evil.example/page"}, 403),
        ({"referer": "http://127.0.0.1:3000/runs"}, None),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
    ],
)
def test_a_page_of_another_site_changes_nothing(method: str, headers: dict[str, str], wanted: int | None) -> None:
    assert (
        status(
            asked(
                method,
                "/graphql",
                **{**({} if method == "WEBSOCKET" else {"content_type": "application/json"}), **headers},
            )
        )
        == wanted
    )
    assert status(asked(method, "/report_asset_materialization/shop/notes", **headers)) == wanted


def test_behind_a_proxy_the_public_name_is_the_site() -> None:
    for host in ("backup.example.com", "127.0.0.1:3000"):  # a proxy that passes Host on, and one that does not
        ours = asked("POST", "/x", host=host, origin="https://backup.example.com")
        assert status(ours, PROXIED) is None
        assert status(asked("POST", "/x", host=host, origin="https://other.example.com"), PROXIED) == 403
        assert status(asked("POST", "/x", host=host, origin="https://backup.example.com:8443"), PROXIED) == 403
    assert status(asked("POST", "/x", origin="https://ops:8443"), PROXIED) is None


def test_where_people_find_the_ui_on_this_machine_is_no_site_to_trust() -> None:
    allowed = allowed_hosts("127.0.0.1", (), "http://127.0.0.1:3000")
    assert status(asked("POST", "/x", host="127.0.0.1:3700", origin="http://127.0.0.1:3000"), allowed) == 403


@pytest.mark.parametrize(
    ("method", "query", "kind", "wanted"),
    [
        ("GET", "query=mutation%7Bx%7D", "", 405),
        ("HEAD", "query=mutation%7Bx%7D", "", 405),
        ("GET", "a=1&que%72y=mutation%7Bx%7D", "", 405),
        ("GET", "query", "", 405),
        ("GET", "variables=%7B%7D", "", 405),
        ("GET", "", "", None),  # the page in which people write queries
        ("POST", "op=Runs", "application/json", None),
        ("POST", "", "application/json; charset=utf-8", None),
        ("POST", "", "application/graphql", None),
        ("POST", "query=mutation%7Bx%7D", "application/json", 405),
        ("POST", "query=mutation%7Bx%7D", "", 405),
        ("POST", "", "", 415),
        ("POST", "", "text/plain", 415),
        ("POST", "", "text/plain; application/json", 415),
        ("POST", "", "multipart/form-data; boundary=application/json", 415),
        ("POST", "", "application/x-www-form-urlencoded", 415),
        ("PUT", "", "application/json", 405),
        ("DELETE", "", "", 405),
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/prefix/graphql", "/graphql/"])
def test_graphql_comes_in_the_body_of_a_post_as_its_own_type(
    method: str, query: str, kind: str, wanted: int | None, path: str
) -> None:
    headers = {"content_type": kind} if kind else {}
    assert status(asked(method, path, query, **headers)) == wanted


@pytest.mark.parametrize(
    ("site", "mode", "dest", "wanted"),
    [
        ("none", "navigate", "document", None),
        ("same-origin", "cors", "empty", None),
        ("cross-site", "navigate", "document", None),  # a link in a mail, or on a page
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "no-cors", "script", 403),
        ("same-site", "no-cors", "image", 403),
    ],
)
def test_a_page_of_another_site_reads_and_frames_nothing(site: str, mode: str, dest: str, wanted: int | None) -> None:
    request = asked("GET", "/logs/run/step.err", sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest=dest)
    assert status(request) == wanted
