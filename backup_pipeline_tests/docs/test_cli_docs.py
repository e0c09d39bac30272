"""docs/cli.md says what the commands' own help says."""

from __future__ import annotations

from backup_pipeline.cli.app import EXIT_CODES
from backup_pipeline_tests.docs.cli_page import PAGE, REGENERATE, cli_page


def test_the_page_is_what_the_commands_say() -> None:
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    assert page == cli_page(), f"{PAGE.name} is out of date. Make it anew: {REGENERATE}"


def test_the_page_has_every_command_and_every_exit_code() -> None:
    page = cli_page()
    for command in (
        "backup",
        "list",
        "show",
        "verify",
        "download",
        "url",
        "restore",
        "restores approve",
        "catalog init",
    ):
        assert f"\n## backup-pipeline {command}\n" in page
    for code in EXIT_CODES:
        assert f"| {code} | " in page
