"""Which catalog `backup` takes: the one that is named, else the installation's."""

from __future__ import annotations

import pytest

from backup_pipeline_tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("variable", "arguments", "taken"),
    [
        (None, (), "isp"),
        ("", (), "isp"),
        ("retail", (), "retail"),
        ("retail", ("--catalog", "books"), "books"),
    ],
)
def test_the_catalog_is_the_named_one_else_the_setting_else_isp(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str | None, arguments: tuple[str, ...], taken: str
) -> None:
    """None of these is there, so the refusal names the one that was looked for."""
    if variable is not None:
        monkeypatch.setenv("BACKUP_CATALOG", variable)
    ended = run("backup", *arguments)
    assert ended.code == 10
    assert f"There is no catalog '{taken}'" in ended.err
