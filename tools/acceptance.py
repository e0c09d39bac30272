"""What the sources want and which tests prove it: docs/acceptance.md, of docs/acceptance.yaml and the tests' marks.

    python tools/acceptance.py          # write the page
    python tools/acceptance.py --check  # exit code 1 and a sentence for each thing that is not as it says

A test names the rows that it proves: `@pytest.mark.acceptance("2.15", "2.16")`. Marks are read from the files, nothing
is run. A row without a test says why in the YAML (`not_yet`), or which page answers it (`decision`); a row with both
tests and `not_yet` is proven in part.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TESTS = "backup_pipeline_tests"
BROWSER = f"from {TESTS}.servers.browser import"
"""What a file of tests in a real browser begins with."""
ROWS, PAGE = "docs/acceptance.yaml", "docs/acceptance.md"
PROOFS = {"C": "command", "T": "test", "A": "HTTP", "B": "browser", "D": "decision"}
PROVEN, PART, DECIDED, NOT_YET = "proven", "in part", "by decision", "*not yet*"
HALF = "The browser's half: no test opens one."
INTRODUCTION = f"""\
<!-- Made by `python tools/acceptance.py` from {ROWS} and the tests' marks. Do not edit. -->

# What the sources want, and what proves it

Each line item of the five documents that this project answers, under its number, with the tests that would fail
without it. A test carries the numbers as its mark (`@pytest.mark.acceptance("2.15")`). *Proof* is how an item has to be
proven: by a command, a test, over HTTP, in a browser, or by a decision that replaces it. *In part* and *not yet* say
what is missing.
Tests stand under `{TESTS}/`; those called *slow* run in `make test-all`.
"""


@dataclass(frozen=True)
class Test:
    """A test that carries marks: its file below the root, its name, the rows it names, whether it opens a browser."""

    path: str
    name: str
    rows: tuple[str, ...]
    slow: bool = False
    browser: bool = False


@dataclass(frozen=True)
class Row:
    """A line item, as the YAML has it."""

    number: str
    wants: str
    proof: str
    not_yet: str = ""
    decision: str = ""


@dataclass(frozen=True)
class Source:
    """One of the documents, with its rows in order."""

    title: str
    rows: tuple[Row, ...]


class MarkError(Exception):
    """A mark that can not be read: where, and why."""


def marked_tests(root: Path) -> Sequence[Test]:
    """Every test below `root` that carries a mark, by path and line. `MarkError`: a mark where it is not read."""
    return [test for path in sorted((root / TESTS).glob("**/test_*.py")) for test in _tests_of(path, root)]


def _tests_of(path: Path, root: Path) -> Iterator[Test]:
    source, shown = path.read_text("utf-8"), str(path.relative_to(root))
    if "acceptance" not in source:
        return
    tree, read = ast.parse(source), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            marks = [mark for mark in node.decorator_list if isinstance(mark, ast.Call) and _is(mark.func)]
            read |= {id(mark.func) for mark in marks}
            rows = tuple(row for mark in marks for row in _rows_of(mark, f"{shown}:{node.lineno}"))
            slow = any(ast.unparse(mark).endswith("mark.slow") for mark in node.decorator_list)
            if rows:
                yield Test(shown, node.name, rows, slow, BROWSER in source)
    for node in ast.walk(tree):
        if _is(node) and id(node) not in read:
            place = f"{shown}:{getattr(node, 'lineno', 0)}"
            message = f"{place}: an acceptance mark with its rows stands above a test function, and nowhere else."
            raise MarkError(message)


def _is(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "acceptance" and ast.unparse(node.value).endswith("mark")


def _rows_of(mark: ast.Call, place: str) -> Iterator[str]:
    if not mark.args or mark.keywords:
        message = f"{place}: an acceptance mark names at least one row, and nothing else."
        raise MarkError(message)
    for argument in mark.args:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            message = f"{place}: {ast.unparse(argument)} is no row; write its number as text."
            raise MarkError(message)
        yield argument.value


def read_sources(path: Path) -> Sequence[Source]:
    """The line items of the YAML: `sources: [{title, rows: {number: {wants, proof, not_yet?, decision?}}}]`."""
    given: Mapping[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return [
        Source(source["title"], tuple(Row(str(number), **fields) for number, fields in source["rows"].items()))
        for source in given["sources"]
    ]


def problems(root: Path, sources: Sequence[Source], tests: Sequence[Test]) -> Iterator[str]:
    """What the rows and the marks say that is not so."""
    rows = [row for source in sources for row in source.rows]
    for number, count in Counter(row.number for row in rows).items():
        if count > 1:
            yield f"{ROWS}: row {number} stands there {count} times."
    known = {row.number for row in rows}
    for test in tests:
        for number in test.rows:
            if number not in known:
                yield f"{test.path} {test.name}: there is no row {number!r} in {ROWS}."
    for row in rows:
        yield from _problems_of(root, row, [test for test in tests if row.number in test.rows])


def _problems_of(root: Path, row: Row, tests: Sequence[Test]) -> Iterator[str]:
    if row.proof not in PROOFS:
        yield f"{ROWS}: row {row.number} wants {row.proof!r} as proof; known are {', '.join(PROOFS)}."
    if row.decision and not (root / "docs" / row.decision).is_file():
        yield f"{ROWS}: row {row.number} names docs/{row.decision}, which is not there."
    if not tests and not row.not_yet and not row.decision:
        yield f"{ROWS}: row {row.number} is called proven, and no test carries its mark; say why as `not_yet`."


def state(row: Row, tests: Sequence[Test]) -> tuple[str, str]:
    """How far a row is proven, and what is missing."""
    half = row.proof == "B" and tests and not any(test.browser for test in tests)
    missing = " ".join([row.not_yet, *([HALF] if half else [])]).strip()
    if tests:
        return (PART, missing) if missing else (PROVEN, "")
    if row.decision and not row.not_yet:
        return DECIDED, ""
    return NOT_YET, missing


def page(sources: Sequence[Source], tests: Sequence[Test]) -> str:
    """docs/acceptance.md."""
    return "\n".join([INTRODUCTION, *_summary(sources, tests), *_tables(sources, tests)]) + "\n"


def _summary(sources: Sequence[Source], tests: Sequence[Test]) -> Iterator[str]:
    states = (PROVEN, PART, DECIDED, NOT_YET)
    yield f"| source | rows | {' | '.join(states)} |"
    yield f"|---|---:|{'---:|' * len(states)}"
    for source in sources:
        counted = Counter(state(row, _proofs(row, tests))[0] for row in source.rows)
        numbers = " | ".join(str(counted[each]) for each in states)
        yield f"| {source.title} | {len(source.rows)} | {numbers} |"


def _tables(sources: Sequence[Source], tests: Sequence[Test]) -> Iterator[str]:
    for source in sources:
        yield f"\n## {source.title}\n"
        yield "| # | wanted | proof | state | tests, and what is missing |"
        yield "|---|---|---|---|---|"
        for row in source.rows:
            proofs = _proofs(row, tests)
            name, missing = state(row, proofs)
            cells = [_link(test) for test in proofs]
            cells += [f"[{Path(row.decision).name}]({row.decision})"] if row.decision else []
            cells += [missing] if missing else []
            yield f"| {row.number} | {_cell(row.wants)} | {PROOFS[row.proof]} | {name} | {'<br>'.join(cells)} |"


def _proofs(row: Row, tests: Sequence[Test]) -> Sequence[Test]:
    return [test for test in tests if row.number in test.rows]


def _link(test: Test) -> str:
    shown = f"{test.path.removeprefix(f'{TESTS}/').removesuffix('.py')}: {test.name.removeprefix('test_')}"
    return f"[{shown.replace('_', chr(92) + '_')}](../{test.path}){' (slow)' if test.slow else ''}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description="The acceptance page: what the sources want and which tests prove it.")
    parser.add_argument("root", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is not as it says")
    options = parser.parse_args(arguments)
    try:
        tests = marked_tests(options.root)
    except MarkError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    sources = read_sources(options.root / ROWS)
    wrong = list(problems(options.root, sources, tests))
    if wrong:
        print("\n".join(wrong), file=sys.stderr)  # noqa: T201
        return 1
    text, path = page(sources, tests), options.root / PAGE
    if not options.check:
        path.write_text(text, "utf-8")
    elif not path.is_file() or path.read_text("utf-8") != text:
        print(f"{PAGE} is not what the tests say; run `python tools/acceptance.py`.", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
