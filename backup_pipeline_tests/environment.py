"""The environment in which tests run: no setting of whoever runs them reaches them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_SETTINGS = ("BACKUP_", "DAGSTER_", "AWS_")


@contextmanager
def bare_environment(*besides: str) -> Iterator[pytest.MonkeyPatch]:
    """This process without any setting, nor variables whose names begin like one of `besides`, until the end."""
    with pytest.MonkeyPatch.context() as environment:
        for name in os.environ.keys() - kept_environment(*besides).keys():
            environment.delenv(name)
        yield environment


def kept_environment(*besides: str) -> dict[str, str]:
    """What a child of this process is to have of its environment: all but settings and `besides`."""
    return {name: value for name, value in os.environ.items() if not name.startswith((*_SETTINGS, *besides))}
