"""Whether what customers gave can be true: rules with ids, each for kinds of columns. Nothing is looked up anywhere.

A value that breaks a rule stays in the backup: it is counted, and left out of renderings where the catalog wants that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from backup_pipeline.core.anomalies import TableCheck
from backup_pipeline.core.catalog.model import ColumnKind
from backup_pipeline.core.manifest import FindingEntry, ValidationEntry
from backup_pipeline.lazy import lazily

with lazily():
    import disposable_email_domains as disposable
    import email_validator
    import phonenumbers

VALID_ROWS = "valid_rows"
"""The check of a table that fails when more of its rows than the catalog's share break a rule."""

_PERSON = frozenset({ColumnKind.FIRST_NAME, ColumnKind.LAST_NAME, ColumnKind.NAME})
_TEXTS = frozenset(ColumnKind) - {ColumnKind.DATE_OF_BIRTH}


@dataclass(frozen=True)
class ValueBasis:
    """What a value is judged by besides itself: the region of telephone numbers, and the day of the snapshot."""

    region: str | None
    today: date


@dataclass(frozen=True)
class ValueRule:
    """A rule for single values of some kinds; `breaks` says whether one breaks it."""

    id: str
    kinds: frozenset[ColumnKind]
    message: str
    breaks: Callable[[str, ValueBasis], bool]


_PLACEHOLDERS = frozenset(
    {"test", "testing", "asdf", "asd", "qwer", "fake", "dummy", "n/a", "unknown", "example", "tbc"}
)
_NOBODY = _PLACEHOLDERS | {"user", "name", "customer", "person", "lead", "account", "client", "me"}
_ROWS_OF_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop")
_KEYS = frozenset(
    row[start : start + size]
    for line in _ROWS_OF_KEYS
    for row in (line, line[::-1])
    for size in range(5, len(row) + 1)
    for start in range(len(row) - size + 1)
)
"""Five keys side by side or more: four are names of people (Wert, Trew)."""
_RUNNING = ("123456789", "987654321")  # with a 0 at an end it is in many a real number
_MOST_EQUAL = 7
_SORT_CODE = re.compile(r"[0-9]{2}-?[0-9]{2}-?[0-9]{2}")
_ACCOUNT = re.compile(r"[0-9]{8}")
_POSTCODE = re.compile(
    r"(?:GIR ?0AA|[A-PR-UWYZ][A-HK-Y]?[0-9][0-9A-HJKMNPR-Y]? ?[0-9][ABD-HJLNP-UW-Z]{2})", re.IGNORECASE
)
_MOJIBAKE = re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\u00ef\u00bf\u00bd|\u00f0\u0178|\ufffd")
_FIRST_BIRTH = date(1900, 1, 1)


def _words(value: str) -> list[str]:
    return value.casefold().split()


def _is_placeholder(value: str, _: ValueBasis) -> bool:
    words = _words(value)
    return bool(words) and (words[0] in _PLACEHOLDERS or len(words) > 1) and all(word in _NOBODY for word in words)


def _is_one_letter(value: str, _: ValueBasis) -> bool:
    letters = [sign for sign in value if sign.isalnum()]
    # One sign is a whole name in Chinese or Korean.
    return len(letters) == 1 and letters[0].isascii()


def _is_row_of_keys(value: str, _: ValueBasis) -> bool:
    return any(word in _KEYS for word in _words(value))


def _is_one_letter_again_and_again(value: str, _: ValueBasis) -> bool:
    return any(len(word) >= 3 and len(set(word)) == 1 and word.isascii() and word.isalpha() for word in _words(value))


def _is_no_address(value: str, _: ValueBasis) -> bool:
    return not _has_syntax(value)


@lru_cache(maxsize=10_000)
def _has_syntax(value: str) -> bool:
    try:
        email_validator.validate_email(value, check_deliverability=False)
    except email_validator.EmailNotValidError:
        return False
    return True


def _is_disposable(value: str, _: ValueBasis) -> bool:
    labels = value.rpartition("@")[2].casefold().rstrip(".").split(".")
    domains = (".".join(labels[start:]) for start in range(len(labels) - 1))
    return any(domain in disposable.blocklist for domain in domains)


def _is_no_number(value: str, basis: ValueBasis) -> bool:
    return _number_state(value, basis.region) == "none"


def _is_no_valid_number(value: str, basis: ValueBasis) -> bool:
    return _number_state(value, basis.region) == "invalid"


@lru_cache(maxsize=10_000)
def _number_state(value: str, region: str | None) -> str:
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return "none"
    if not phonenumbers.is_possible_number(number):
        return "none"
    return "valid" if phonenumbers.is_valid_number(number) else "invalid"


def _digits(value: str) -> str:
    return "".join(sign for sign in value if sign in "0123456789")


def _is_repeated(value: str, _: ValueBasis) -> bool:
    return re.search(rf"([0-9])\1{{{_MOST_EQUAL - 1}}}", _digits(value)) is not None


def _is_running(value: str, _: ValueBasis) -> bool:
    digits = _digits(value)
    pieces = (digits[start : start + _MOST_EQUAL] for start in range(len(digits) - _MOST_EQUAL + 1))
    return any(piece in run for piece in pieces for run in _RUNNING)


def _is_out_of_life(value: str, basis: ValueBasis) -> bool:
    try:
        born = date.fromisoformat(value[:10])
    except ValueError:
        return True
    return not _FIRST_BIRTH <= born <= basis.today


def _has_control(value: str, _: ValueBasis) -> bool:
    return any(unicodedata.category(sign) == "Cc" and sign not in "\t\n\r" for sign in value)


RULES: Mapping[str, ValueRule] = {
    rule.id: rule
    for rule in (
        ValueRule("name.placeholder", _PERSON, "It is what people type instead of a name.", _is_placeholder),
        ValueRule("name.one_letter", _PERSON, "It is a single letter.", _is_one_letter),
        ValueRule("name.keyboard", _PERSON, "It is keys side by side.", _is_row_of_keys),
        ValueRule("name.repeated", _PERSON, "It is one letter again and again.", _is_one_letter_again_and_again),
        ValueRule("email.syntax", frozenset({ColumnKind.EMAIL}), "It is no e-mail address.", _is_no_address),
        ValueRule(
            "email.disposable", frozenset({ColumnKind.EMAIL}), "Its domain is for throw-away addresses.", _is_disposable
        ),
        ValueRule("phone.impossible", frozenset({ColumnKind.PHONE}), "It is no telephone number.", _is_no_number),
        ValueRule("phone.invalid", frozenset({ColumnKind.PHONE}), "No such number is given out.", _is_no_valid_number),
        ValueRule(
            "digits.repeated",
            frozenset({ColumnKind.PHONE, ColumnKind.ACCOUNT_NUMBER}),
            "One digit stands seven times.",
            _is_repeated,
        ),
        ValueRule(
            "digits.running",
            frozenset({ColumnKind.PHONE, ColumnKind.ACCOUNT_NUMBER}),
            "Seven digits run up or down.",
            _is_running,
        ),
        ValueRule(
            "sort_code.form",
            frozenset({ColumnKind.SORT_CODE}),
            "It is not six digits in three pairs.",
            lambda value, _: _SORT_CODE.fullmatch(value.strip()) is None,
        ),
        ValueRule(
            "sort_code.zero",
            frozenset({ColumnKind.SORT_CODE}),
            "There is no bank 00-00-00.",
            lambda value, _: _digits(value) == "000000",
        ),
        ValueRule(
            "account_number.form",
            frozenset({ColumnKind.ACCOUNT_NUMBER}),
            "It is not eight digits.",
            lambda value, _: _ACCOUNT.fullmatch(value.strip()) is None,
        ),
        ValueRule(
            "postcode.form",
            frozenset({ColumnKind.POSTCODE}),
            "It has not the form of a British postcode.",
            lambda value, _: _POSTCODE.fullmatch(value.strip()) is None,
        ),
        ValueRule(
            "date_of_birth.range",
            frozenset({ColumnKind.DATE_OF_BIRTH}),
            "Nobody alive was born then.",
            _is_out_of_life,
        ),
        ValueRule("text.control", _TEXTS, "It has a sign that controls a device.", _has_control),
        ValueRule(
            "text.mojibake",
            _TEXTS,
            "It was read in another encoding than it was written in.",
            lambda value, _: _MOJIBAKE.search(value) is not None,
        ),
    )
}
SAME_NAMES = "name.same"
"""The rule for a row: first and last name are the same word."""
MESSAGES: Mapping[str, str] = {
    **{rule.id: rule.message for rule in RULES.values()},
    SAME_NAMES: "First and last name are the same.",
}
"""Rule id -> what is wrong with a value that breaks it."""


def broken_rules(kind: ColumnKind, value: object, basis: ValueBasis) -> tuple[str, ...]:
    """The ids of the rules that the value breaks; none for what is not there (None, or blanks alone)."""
    text = value.isoformat() if isinstance(value, date) else str(value) if value is not None else ""
    if not text.strip():
        return ()
    return tuple(rule.id for rule in RULES.values() if kind in rule.kinds and rule.breaks(text, basis))


def row_findings(
    kinds: Mapping[str, ColumnKind], row: Mapping[str, object], basis: ValueBasis
) -> Iterator[tuple[str, str]]:
    """Column and rule of everything that the values of a row break."""
    for column, kind in kinds.items():
        for rule in broken_rules(kind, row[column], basis):
            yield column, rule
    first = next((column for column, kind in kinds.items() if kind is ColumnKind.FIRST_NAME), None)
    last = next((column for column, kind in kinds.items() if kind is ColumnKind.LAST_NAME), None)
    if first and last and (words := _words(str(row[first] or ""))) and words == _words(str(row[last] or "")):
        yield last, SAME_NAMES


def entry_basis(entry: ValidationEntry, today: date) -> tuple[Mapping[str, ColumnKind], ValueBasis]:
    """By what the rows of a table were judged, and are judged again."""
    return {column: ColumnKind(kind) for column, kind in entry.columns.items()}, ValueBasis(entry.region, today)


def validity_check(entry: ValidationEntry, share: float) -> TableCheck:
    """The check of a table: did more than `share` of its rows break a rule?"""
    passed = entry.invalid <= share * entry.rows
    worst = ", ".join(f"{each.column}: {each.rule} {each.rows:,}" for each in worst_first(entry)[:3])
    told = f" ({worst})" if worst else ""
    message = f"{entry.invalid:,} of {entry.rows:,} rows have values that can not be true{told}; {share:.1%} may."
    return TableCheck(VALID_ROWS, passed, blocking=False, message=message, numbers={"invalid": entry.invalid})


def worst_first(entry: ValidationEntry) -> Sequence[FindingEntry]:
    """What was found, the most frequent first."""
    return sorted(entry.findings, key=lambda each: (-each.rows, each.column, each.rule))
