"""`backup-pipeline init`: the files of an installation, for who installed the package and has no checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backup_pipeline.cli.options import print_json, print_line
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import note_console

with lazily():
    from backup_pipeline.wiring import installation


def init(
    folder: Annotated[Path, typer.Argument(help="The folder of the installation; made where it is missing.")] = Path(),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Write what an installation needs into a folder: settings, Dagster's configuration, a place for catalogs.

    That is `.env.example` with the settings that people usually change, `dagster/development` and `dagster/production`,
    each a DAGSTER_HOME with its `dagster.yaml`, `workspace.yaml` for Dagster's own commands, and `catalogs`. A file
    that is there already is never overwritten: run it again after an upgrade, and it says which ones this version
    would write otherwise.

    Examples:

        backup-pipeline init && cp .env.example .env && set -a && . ./.env && set +a && backup-pipeline backup

        backup-pipeline init /srv/backups

    Exit codes: 0 they are there; 2 a file can not be written, or wrong request.
    """
    files = installation.write_installation(folder)
    if as_json:
        print_json([{"file": str(path), "state": state.name.lower()} for path, state in files.items()])
        return
    for path, state in files.items():
        print_line(f"{path}: {state}")
    note_console().print(
        "Next: copy .env.example to .env, correct it, load it (set -a; . ./.env; set +a), then run `backup-pipeline "
        "backup` and `backup-pipeline up`. As it is they work on an embedded PostgreSQL with a demo.",
        markup=False,
    )
