"""What is made of the results: the report, the chart, and the verdicts in docs/speed.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.settings import PROJECT
from benchmarks.chart import chart
from benchmarks.keep import read_results
from benchmarks.report import report, with_tables


@dataclass(frozen=True)
class Pages:
    """Where results are kept, and where the pages are that are made of them; `speed` is None for a trial."""

    results: Path
    report: Path
    chart: Path
    speed: Path | None


KEPT = Pages(
    results=PROJECT / "benchmarks" / "results",
    report=PROJECT / "benchmarks" / "report.md",
    chart=PROJECT / "docs" / "images" / "export_speed.svg",
    speed=PROJECT / "docs" / "speed.md",
)
"""The pages of the project."""


def trial(folder: Path) -> Pages:
    """Pages that touch nothing of the project."""
    return Pages(folder / "results", folder / "report.md", folder / "export_speed.svg", None)


def made(pages: Pages) -> dict[Path, str]:
    """The text of every page, as the results that are there make it."""
    results = read_results(pages.results)
    texts = {pages.report: report(results), pages.chart: chart(results)}
    if pages.speed:
        texts[pages.speed] = with_tables(pages.speed.read_text(encoding="utf-8"), results)
    return texts


def write_pages(pages: Pages) -> None:
    """Write every page anew."""
    for path, text in made(pages).items():
        path.write_text(text, encoding="utf-8")
