"""Names that become folders and files: on Linux, on macOS and on Windows, and nowhere else than where they belong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.core.catalog.model import Catalog
from backup_pipeline.core.names import bundle_path, file_name, safe_file_name, same_file, windows_device
from backup_pipeline.core.text import acts


@pytest.mark.parametrize(
    ("sheet", "name"),
    [
        ("CON", "_CON"),
        ("nul", "_nul"),
        ("Com1", "_Com1"),
        ("LPT9.x", "_LPT9.x"),
        ("COM\u00b9", "_COM\u00b9"),
        ("conout$", "_conout$"),
        ("Aux .log", "_Aux .log"),
        ("Contacts", "Contacts"),
        ("COM10", "COM10"),
        ("a/b\\c:d", "a_b_c_d"),
        ("ends. . .", "ends"),
        ("...", "sheet"),
        (" \t ", "_"),
        ("..", "sheet"),
        ("\u202egnp", "_gnp"),
        ("e\u0301", "\u00e9"),
        ("গ্রাহক", "গ্রাহক"),
        ("x" * 300, "x" * 200),
        ("\U0001f600" * 60, "\U0001f600" * 50),
    ],
)
def test_a_sheet_is_a_file_that_every_system_takes(sheet: str, name: str) -> None:
    assert safe_file_name(sheet) == name


@given(st.text())
def test_any_sheet_is_a_file_in_its_folder(sheet: str) -> None:
    name = safe_file_name(sheet) + ".csv"
    assert file_name(name) == name
    assert bundle_path(f"sheets/{name}") == f"sheets/{name}"
    assert not any(map(acts, name))
    assert not windows_device(name)
    assert not name.removesuffix(".csv").endswith((".", " "))


@pytest.mark.parametrize(
    ("one", "other"), [("Daily", "DAILY"), ("Caf\u00e9", "Cafe\u0301"), ("stra\u00dfe", "STRASSE")]
)
def test_names_that_some_system_takes_for_one(one: str, other: str) -> None:
    assert same_file(one) == same_file(other)


def catalog(**fields: object) -> Catalog:
    return Catalog.model_validate({"catalog": "shop", "timezone": "UTC", **fields})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"Orders": {"sheet": "Other"}, "orders": {}}, "differ in case alone, and would share a folder"),
        ({"a": {"sheet": "Caf\u00e9"}, "b": {"sheet": "cafe\u0301"}}, "have the same sheet"),
        ({"a": {"sheet": "a?"}, "b": {"sheet": "a*"}}, "have the same sheet"),
        ({"a": {"sheet_file": "con.csv"}}, "Windows takes it for a device"),
        ({"a": {"sheet_file": "\u202ex.csv"}}, "may not stand in one"),
        ({"a": {"sheet_file": "x" * 250 + ".csv"}}, "it has over 200 bytes"),
        ({"a": {"sheet_file": "../x.csv"}}, "may not stand in one"),
    ],
)
def test_a_catalog_has_only_names_that_every_system_takes(tables: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        catalog(tables=tables)
