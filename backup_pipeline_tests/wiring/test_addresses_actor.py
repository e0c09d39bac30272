"""Who acts is whom the kernel knows, not what somebody has written."""

from __future__ import annotations

import os
import pwd

import pytest

from backup_pipeline.wiring.addresses import os_user


def test_it_is_the_operating_systems_user_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER", "BACKUP_CREATED_BY"):
        monkeypatch.setenv(name, "the boss")
    assert str(os_user()) == pwd.getpwuid(os.geteuid()).pw_name != "the boss"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_123)
    assert str(os_user()) == "uid 4000123"
