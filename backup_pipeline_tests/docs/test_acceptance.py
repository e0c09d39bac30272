"""docs/acceptance.md is what the tests' marks say (`tools/acceptance.py`), and whatever is not so fails the check."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "acceptance.py"
ROWS = """\
sources:
  - title: Shop
    rows:
      "0.1": {wants: a list, proof: T}
      "0.2": {wants: a page, proof: B}
      "0.3": {wants: a key, proof: A, not_yet: There are no keys.}
      "0.4": {wants: cron, proof: D, decision: cron.md}
"""
TEST = '@pytest.mark.slow\n@pytest.mark.acceptance("0.1", "0.2")\ndef test_list() -> None: ...\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two rows that a test proves, and two that need none."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "backup_pipeline_tests" / "browser").mkdir(parents=True)
    (tmp_path / "docs" / "acceptance.yaml").write_text(ROWS, "utf-8")
    (tmp_path / "docs" / "cron.md").write_text("Cron.\n", "utf-8")
    (tmp_path / "backup_pipeline_tests" / "test_list.py").write_text(TEST, "utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def tool() -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("tools_acceptance", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


@pytest.fixture
def run(tool: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> Run:
    """The tool over a project: its exit code, and what it says on standard error."""

    def run(root: Path, *options: str) -> tuple[int, str]:
        code = tool([*options, str(root)])
        captured = capsys.readouterr()
        assert captured.out == ""
        return code, captured.err

    return run


def test_the_page_of_this_project_is_what_its_tests_say(run: Run) -> None:
    assert run(ROOT, "--check") == (0, "")


def test_every_row_has_its_number_its_state_and_what_proves_it(project: Path, run: Run) -> None:
    assert run(project) == (0, "")
    lines = (project / "docs" / "acceptance.md").read_text("utf-8").splitlines()
    link = "[test\\_list: list](../backup_pipeline_tests/test_list.py) (slow)"
    assert f"| 0.1 | a list | test | proven | {link} |" in lines
    assert f"| 0.2 | a page | browser | in part | {link}<br>The browser's half: no test opens one. |" in lines
    assert "| 0.3 | a key | HTTP | *not yet* | There are no keys. |" in lines
    assert "| 0.4 | cron | decision | by decision | [cron.md](cron.md) |" in lines
    assert "| Shop | 4 | 1 | 1 | 1 | 1 |" in lines
    assert run(project, "--check") == (0, "")


def test_a_row_that_wants_a_browser_is_proven_in_one(project: Path, run: Run) -> None:
    page = TEST.replace("test_list", "test_page").replace('"0.1", ', "")
    page = f"from backup_pipeline_tests.servers.browser import opened_context\n{page}"
    (project / "backup_pipeline_tests" / "browser" / "test_page.py").write_text(page, "utf-8")
    run(project)
    assert "| 0.2 | a page | browser | proven | " in (project / "docs" / "acceptance.md").read_text("utf-8")


def test_a_page_that_is_not_what_the_tests_say_is_refused(project: Path, run: Run) -> None:
    code, message = run(project, "--check")
    assert (code, "run `python tools/acceptance.py`" in message) == (1, True)
    run(project)
    (project / "docs" / "acceptance.md").write_text("All is proven.\n", "utf-8")
    assert "is not what the tests say" in run(project, "--check")[1]


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ('@pytest.mark.acceptance("0.1", "0.2", "9.9")', "test_list: there is no row '9.9'"),
        ("@pytest.mark.acceptance()", "names at least one row"),
        ("@pytest.mark.acceptance(ROW)", "ROW is no row"),
        ("@pytest.mark.acceptance", "stands above a test function"),
        ('pytestmark = pytest.mark.acceptance("0.1")\n', "stands above a test function"),
        ("", "row 0.1 is called proven, and no test carries its mark"),
    ],
)
def test_a_mark_that_says_nothing_is_refused(project: Path, run: Run, mark: str, sentence: str) -> None:
    source = f"{mark}\ndef test_list() -> None: ...\n"
    (project / "backup_pipeline_tests" / "test_list.py").write_text(source, "utf-8")
    code, message = run(project, "--check")
    assert (code, sentence in message) == (1, True), message


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('"0.5": {wants: a thing, proof: T}', "row 0.5 is called proven"),
        ('"0.5": {wants: a thing, proof: X, not_yet: No.}', "row 0.5 wants 'X' as proof"),
        ('"0.5": {wants: a thing, proof: D, decision: gone.md}', "row 0.5 names docs/gone.md, which is not there"),
    ],
)
def test_a_row_that_can_not_be_so_is_refused(project: Path, run: Run, row: str, sentence: str) -> None:
    rows = project / "docs" / "acceptance.yaml"
    rows.write_text(f"{ROWS}      {row}\n", "utf-8")
    code, message = run(project, "--check")
    assert (code, sentence in message) == (1, True), message
