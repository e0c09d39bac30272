"""Tests of docs/architecture.md: what its drawings name is there."""

from __future__ import annotations

import ast

import pytest

from backup_pipeline_tests.docs.stations import PACKAGE, asides, stations

WAYS = ("The way of a table", "The way of a bundle")


@pytest.mark.parametrize("way", WAYS)
def test_each_function_that_a_drawing_names_is_in_the_file_that_it_names(way: str) -> None:
    assert stations(way)
    for station in (*stations(way), *asides(way)):
        tree = ast.parse((PACKAGE / station.file).read_text(encoding="utf-8"))
        assert station.function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, station


@pytest.mark.parametrize("way", WAYS)
def test_the_ways_are_short(way: str) -> None:
    passed = stations(way)
    assert len(passed) <= 8
    assert len({station.file for station in passed}) <= 6
