"""`In five minutes` of docs/dagster.md, followed to the letter in an empty folder: its commands, its `defs.yaml`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from backup_pipeline_tests.environment import kept_environment
from backup_pipeline_tests.orchestration.conftest import Install
from backup_pipeline_tests.orchestration.test_embedding import FILES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dagster.md"
SKELETON = ("pyproject.toml", "src/mine/__init__.py", "src/mine/definitions.py", "src/mine/defs/__init__.py")


def _blocks(kind: str) -> list[str]:
    chapter = PAGE.read_text().split("## In five minutes")[1].split("A component of your own")[0]
    return re.findall(rf"```{kind}\n(.*?)```", chapter, re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stranger_follows_the_page_and_has_a_backup(install: Install, tmp_path: Path) -> None:
    for name in SKELETON:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(FILES[name].lstrip())
    [scaffold, draft, look], [component] = _blocks("sh"), _blocks("yaml")
    with install() as installation:
        installation.sql("DROP TABLE forgotten; COMMENT ON TABLE orders IS 'What they bought.'")
        store = installation.home / "store"
        lines = [line for line in f"{scaffold}{draft}".splitlines() if not line.startswith("pip install")]
        written = component.replace("s3://my-backups/shop", store.as_uri())
        day = f"{installation.today:%Y-%m-%d}"
        script = "\n".join(
            [
                *lines,
                f"cat > src/mine/defs/shop/defs.yaml <<'END'\n{written}END",
                f"export BACKUP_SOURCE_URL={installation.source_url} BACKUP_LEDGER_URL={installation.ledger_url}",
                look.replace("dg dev", ""),
                "sed -i 's/^timezone: .*/timezone: Asia\\/Dhaka/' src/mine/defs/shop/catalog.yaml",
                f"dg launch --job shop_full_backup --partition {day}",
            ]
        ).replace("postgresql://backup_reader@db.example.com/shop", installation.source_url)
        environment = {
            **kept_environment(),
            "PATH": f"{Path(sys.executable).parent}:{kept_environment().get('PATH', '/usr/bin:/bin')}",
            "PYTHONPATH": str(tmp_path / "src"),
            "DAGSTER_HOME": str(installation.home / "dagster"),
            "BACKUP_HOME": str(installation.home),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        assert "backup_pipeline.BackupComponent" in done.stdout
        assert "shop_full_backup" in done.stdout
        assert (tmp_path / "src/mine/defs/shop/catalog.yaml").read_text().count("What they bought.") == 1
        assert installation.attempt().status.good
        assert installation.attempt().kind == "full"
