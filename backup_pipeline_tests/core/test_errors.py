"""Tests of the errors: the tree in the docstring is the tree of the classes."""

from __future__ import annotations

import re

from backup_pipeline.core import errors
from backup_pipeline.core.errors import BackupError, DiskFullError, ExportFailedError, NotFoundError

DESIGNED = {0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 130}


def documented() -> dict[str, tuple[str, str | None, bool]]:
    """Each error of the docstring: its parent, its exit code if it is given, whether it is called transient."""
    found: dict[str, tuple[str, str | None, bool]] = {}
    parents: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(?P<lead>[ │├└─]*)(?P<name>\w+Error)(?:\s+(?P<code>\d+))?\s+(?P<text>.*)", line)
        if match is None:
            continue
        depth = len(match["lead"])
        parents = [(d, name) for d, name in parents if d < depth]
        found[match["name"]] = (
            parents[-1][1] if parents else "Exception",
            match["code"],
            match["text"].startswith("transient:"),
        )
        parents.append((depth, match["name"]))
    return found


def classes() -> dict[str, type[BackupError]]:
    return {name: c for name, c in vars(errors).items() if isinstance(c, type) and issubclass(c, BackupError)}


def test_the_docstring_names_every_class_under_its_parent() -> None:
    real = {name: c.__mro__[1].__name__ for name, c in classes().items()}
    assert {name: parent for name, (parent, _, _) in documented().items()} == real


def test_the_documented_exit_codes_are_those_of_the_classes() -> None:
    for name, (_, code, _) in documented().items():
        if code is not None and name != "ExportFailedError":  # its code depends on what failed
            assert classes()[name].exit_code == int(code), name


def test_an_error_without_a_code_in_the_tree_has_its_parents() -> None:
    for name, (parent, code, _) in documented().items():
        if code is None:
            assert classes()[name].exit_code == classes()[parent].exit_code


def test_what_is_called_transient_is() -> None:
    for name, (_, _, transient) in documented().items():
        assert not transient or classes()[name].transient, name
    assert not BackupError.transient


def test_exit_codes_are_those_of_the_design() -> None:
    assert {c.exit_code for c in classes().values()} <= DESIGNED


def test_an_error_says_what_and_what_to_do() -> None:
    assert str(BackupError("It failed.", do="Try again.")) == "It failed.\nWhat to do: Try again."
    assert str(BackupError("It failed.")) == "It failed."


def test_an_export_of_which_some_tables_came_through_is_partial() -> None:
    failed = {"payments": NotFoundError("gone", do="Look."), "areas": DiskFullError("full")}
    some, every = ExportFailedError(failed, wanted=3), ExportFailedError(failed, wanted=2)
    assert (some.exit_code, every.exit_code) == (3, 10)
    assert some.what.startswith("2 of 3 tables failed")
    assert "payments: gone" in some.what
    assert "areas: full" in some.what
    assert some.do == "payments: Look.\nareas: Correct the cause, then run the table again."


def test_tables_that_failed_alike_share_their_advice() -> None:
    failed = {name: NotFoundError("gone", do="Look.") for name in ("payments", "areas")}
    assert ExportFailedError(failed, wanted=3).do == "Look."
