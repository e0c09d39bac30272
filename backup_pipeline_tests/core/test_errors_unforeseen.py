"""Messages in our words: neither pydantic's, nor the numbers of errno."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

import backup_pipeline
from backup_pipeline.core.errors import VerificationError, in_our_words, wanted
from backup_pipeline.core.manifest import Totals
from backup_pipeline.core.manifest.documents import validated

PACKAGE = Path(backup_pipeline.__file__).parent
_TRANSLATORS = {Path("core/errors.py"), Path("catalogs/__init__.py")}
"""They put such words into ours."""


class _Form(BaseModel):
    rows: int = Field(ge=0)
    name: str = "x"


def _error(**values: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        _Form.model_validate(values)
    return caught.value


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rows": "many"}, "a whole number (given: 'many')"),
        ({"rows": -1}, "0 or more (given: -1)"),
        ({}, "a value"),
        ({"rows": 1, "name": 3}, "text"),
    ],
)
def test_what_pydantic_wants_is_said_in_our_words(values: dict[str, object], words: str) -> None:
    error = _error(**values)
    assert wanted(error.errors()[0]) == words
    assert words in in_our_words(error)
    assert "pydantic" not in in_our_words(error)
    assert "Input should be" not in in_our_words(error)


def test_an_error_of_the_system_comes_without_its_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Errno 2") as caught:
        (tmp_path / "none").read_text()
    assert in_our_words(caught.value) == f"No such file or directory: {tmp_path / 'none'}"
    assert in_our_words(ValueError("no")) == "ValueError: no"


def test_a_manifest_that_is_wrong_names_the_field_and_what_it_wants() -> None:
    with pytest.raises(VerificationError, match=r"is not a manifest of format .*: rows wants a whole number") as caught:
        validated(Totals, {"tables": 1, "rows": "many", "files": 1, "bytes": 1}, "here")
    assert "Input should be" not in str(caught.value)


def test_no_message_is_made_of_pydantics_words_or_of_an_exception_and_its_kind() -> None:
    """Searched in the whole package, so that no new place brings them back."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.relative_to(PACKAGE) not in _TRANSLATORS:
            found += [f"{path}: {piece}" for piece in ("['msg']", '["msg"]', "__name__}: {error}") if piece in text]
        found += [f"{path}:{line}" for line in _oserrors_in_messages(ast.parse(text))]
    assert found == []


def _oserrors_in_messages(tree: ast.AST) -> list[int]:
    """The lines of f-strings that show an exception which is an OSError, and nothing else, as it is."""
    found = []
    for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)):
        kinds = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else set()
        if not handler.name or not kinds & {"OSError", "PermissionError", "FileNotFoundError"} or "pa" in kinds:
            continue
        shown = (node for part in handler.body for node in ast.walk(part) if isinstance(node, ast.FormattedValue))
        found += [node.lineno for node in shown if isinstance(node.value, ast.Name) and node.value.id == handler.name]
    return found
