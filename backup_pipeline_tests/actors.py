"""People who act in tests."""

from __future__ import annotations

from backup_pipeline.core.scope import command_line

RAHIM, KARIM, TESTER = command_line("rahim"), command_line("karim"), command_line("tester")
