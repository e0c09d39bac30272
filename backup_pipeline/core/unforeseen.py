"""What the exceptions of libraries mean, in our words: nobody should have to know pydantic, or the numbers of errno."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_WHOLE, _NUMBER = "a whole number", "a number"
_WANTS = {
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "missing": "a value",
    "extra_forbidden": "no such field",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "date_type": "a date such as 2026-01-31",
    "date_from_datetime_parsing": "a date such as 2026-01-31",
    "datetime_type": "a time such as 2026-01-31T18:00:00Z",
    "datetime_from_date_parsing": "a time such as 2026-01-31T18:00:00Z",
    "datetime_parsing": "a time such as 2026-01-31T18:00:00Z",
    "timezone_aware": "a time with its distance from UTC",
}
_LIMITS = {"greater_than_equal": "{ge} or more", "less_than_equal": "{le} or less", "greater_than": "more than {gt}"}
_LIMITS |= {"less_than": "less than {lt}", "literal_error": "{expected}", "enum": "{expected}"}
_SHOWN = {_WHOLE, _NUMBER, "a finite number", "true or false"}


def wanted(detail: ErrorDetails) -> str:
    """What pydantic wanted in place of a value, in our words, and the value where it can not be a secret."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _LIMITS:
        return f"{_LIMITS[kind].format(**context)} (given: {detail['input']!r})"
    if kind in ("value_error", "assertion_error"):  # a rule of ours, in its own words
        return str(context.get("error", "another value"))
    words = _WANTS.get(kind, "another value")
    return f"{words} (given: {detail['input']!r})" if words in _SHOWN else words


def in_our_words(error: BaseException) -> str:
    """What an exception that nobody foresaw says: its kind and message, an OSError without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return f"A value of {error.title}{f', {field},' if field else ''} is wrong: it wants {wanted(first)}"
    return f"{type(error).__name__}: {error}"
