"""Documents drawn for tests."""

from __future__ import annotations

import io

from backup_pipeline.presentation import Hide, ReportDocument, shown_whole
from backup_pipeline.presentation.terminal import SafeConsole, draw


def in_terminal(document: ReportDocument, *, width: int = 200, hide: Hide = shown_whole, colors: bool = False) -> str:
    """What a terminal of that width shows, without spaces at the ends of lines."""
    out = io.StringIO()
    console = SafeConsole(file=out, width=width, force_terminal=colors, color_system="standard" if colors else None)
    draw(document, console, hide)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
