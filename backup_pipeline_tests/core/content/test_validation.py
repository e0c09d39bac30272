"""The rules about customers' data: what each finds, and that it leaves real people alone."""

from __future__ import annotations

from datetime import date

import pytest

from backup_pipeline.core.catalog.model import ColumnKind
from backup_pipeline.core.content.validation import (
    MESSAGES,
    RULES,
    SAME_NAMES,
    ValueBasis,
    broken_rules,
    row_findings,
    validity_check,
)
from backup_pipeline.core.manifest import FindingEntry, ValidationEntry

BASIS = ValueBasis("GB", date(2026, 11, 20))

GOOD = [
    ("first_name", "Margaret"),
    ("first_name", "Jo"),
    ("first_name", "Bo"),
    ("first_name", "Anne-Marie"),
    ("first_name", "Siân"),
    ("first_name", "李"),
    ("first_name", "মোঃ"),
    ("first_name", "Md."),
    ("first_name", "Zoë"),
    ("first_name", "Ernest"),
    ("last_name", "O'Neill"),
    ("last_name", "Tester"),
    ("last_name", "Fakenham"),
    ("last_name", "Nulty"),
    ("last_name", "Null"),
    ("last_name", "Ng"),
    ("last_name", "Trew"),
    ("last_name", "Wert"),
    ("last_name", "Sample"),
    ("last_name", "De la Cruz"),
    ("name", "Smith-Jones & Sons"),
    ("name", "Rapid Test Services Ltd"),
    ("name", "Mr A B Customer-Care"),
    ("name", "Route 666 Motors"),
    ("name", "Lee Lee-Anderson"),
    ("email", "margaret.hill@example.co.uk"),
    ("email", "a@b.co"),
    ("email", "first+tag@sub.example.org"),
    ("email", "o'brien@example.ie"),
    ("email", "زينب@example.com"),
    ("email", "UPPER@EXAMPLE.COM"),
    ("phone", "07400 123456"),
    ("phone", "+44 7911 123456"),
    ("phone", "0161 496 0123"),
    ("phone", "(020) 7946 0958"),
    ("phone", "+8801712045678"),
    ("phone", "+1 212-555-2368"),
    ("phone", "00447400125125"),
    ("phone", "0800 001 1234"),
    ("phone", "07525.125.690"),
    ("sort_code", "20-00-00"),
    ("sort_code", "401276"),
    ("sort_code", "09-01-28"),
    ("account_number", "10293847"),
    ("account_number", "00012345"),
    ("account_number", "70872490"),
    ("postcode", "SW1A 2AA"),
    ("postcode", "m1 1ae"),
    ("postcode", "W1A0AX"),
    ("postcode", "BT7 1NN"),
    ("postcode", "GIR 0AA"),
    ("postcode", "EC1V 9HX"),
    ("date_of_birth", "1938-01-01"),
    ("date_of_birth", "1900-01-01"),
    ("date_of_birth", "2026-11-20"),
    ("text", 'Ring back after 6\nAsk for "Sandra"'),
    ("text", "SÃO PAULO; Â is a letter"),
    ("text", "ফোন করার আগে মেসেজ দিন 😊"),
    ("text", "£20, 5 °C, naïve"),
    ("name", "   "),
]
BAD = [
    ("first_name", "Test", "name.placeholder"),
    ("first_name", "test ", "name.placeholder"),
    ("first_name", "TESTING", "name.placeholder"),
    ("first_name", "asdf", "name.placeholder"),
    ("first_name", "Dummy", "name.placeholder"),
    ("last_name", "fake", "name.placeholder"),
    ("last_name", "N/A", "name.placeholder"),
    ("last_name", "unknown", "name.placeholder"),
    ("name", "Test User", "name.placeholder"),
    ("name", "fake name", "name.placeholder"),
    ("name", "Test Customer", "name.placeholder"),
    ("first_name", "x", "name.one_letter"),
    ("first_name", "B.", "name.one_letter"),
    ("last_name", "7", "name.one_letter"),
    ("first_name", "qwerty", "name.keyboard"),
    ("last_name", "asdfgh", "name.keyboard"),
    ("name", "zxcvbnm", "name.keyboard"),
    ("first_name", "lkjhg", "name.keyboard"),
    ("last_name", "AZERTY", "name.keyboard"),
    ("first_name", "aaaa", "name.repeated"),
    ("last_name", "xxx", "name.repeated"),
    ("email", "not an address", "email.syntax"),
    ("email", "a@", "email.syntax"),
    ("email", "@example.com", "email.syntax"),
    ("email", "a@b@example.com", "email.syntax"),
    ("email", "a..b@example.com", "email.syntax"),
    ("email", "name@example", "email.syntax"),
    ("email", "name@exa mple.com", "email.syntax"),
    ("email", "somebody@mailinator.com", "email.disposable"),
    ("email", "x@guerrillamail.com", "email.disposable"),
    ("email", "y@sub.mailinator.com", "email.disposable"),
    ("email", "z@YOPMAIL.COM", "email.disposable"),
    ("phone", "call after 6", "phone.impossible"),
    ("phone", "12", "phone.impossible"),
    ("phone", "+999 123 456 789", "phone.impossible"),
    ("phone", "074001234567890", "phone.impossible"),
    ("phone", "07700 900123", "phone.invalid"),
    ("phone", "01632 960001", "phone.invalid"),
    ("phone", "00000000000", "digits.repeated"),
    ("phone", "07777777777", "digits.repeated"),
    ("phone", "1234567", "digits.running"),
    ("phone", "+44 7 9876543 21", "digits.running"),
    ("account_number", "11111111", "digits.repeated"),
    ("account_number", "12345678", "digits.running"),
    ("account_number", "1234567", "account_number.form"),
    ("account_number", "12-345678", "account_number.form"),
    ("account_number", "1029384x", "account_number.form"),
    ("sort_code", "2000", "sort_code.form"),
    ("sort_code", "20/00/00", "sort_code.form"),
    ("sort_code", "AB-CD-EF", "sort_code.form"),
    ("sort_code", "00-00-00", "sort_code.zero"),
    ("postcode", "XXXX", "postcode.form"),
    ("postcode", "12345", "postcode.form"),
    ("postcode", "QW1A 2AA", "postcode.form"),
    ("date_of_birth", "1899-12-31", "date_of_birth.range"),
    ("date_of_birth", "2026-11-21", "date_of_birth.range"),
    ("date_of_birth", "yesterday", "date_of_birth.range"),
    ("text", "a\x00b", "text.control"),
    ("first_name", "JosÃ©", "text.mojibake"),
    ("text", "donâ€™t", "text.mojibake"),
]


def test_there_are_sixty_of_each_and_every_rule_is_broken_by_one() -> None:
    assert (len(GOOD), len(BAD)) == (60, 60)
    assert {rule for _, _, rule in BAD} == set(RULES)


@pytest.mark.acceptance("4.18")
@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_what_is_real_breaks_no_rule(kind: str, value: str) -> None:
    assert broken_rules(ColumnKind(kind), value, BASIS) == ()


@pytest.mark.acceptance("4.18")
@pytest.mark.parametrize(("kind", "value", "rule"), BAD)
def test_what_can_not_be_true_breaks_its_rule(kind: str, value: str, rule: str) -> None:
    assert rule in broken_rules(ColumnKind(kind), value, BASIS)
    assert MESSAGES[rule]


@pytest.mark.parametrize("kind", list(ColumnKind))
def test_what_is_not_there_breaks_no_rule(kind: ColumnKind) -> None:
    assert broken_rules(kind, None, BASIS) == broken_rules(kind, "", BASIS) == ()


@pytest.mark.parametrize(
    ("first", "last", "same"), [("James", "james ", True), ("James", "Jameson", False), ("", "", False)]
)
def test_the_same_first_and_last_name_is_told_of_the_row(first: str, last: str, same: bool) -> None:
    kinds = {"given": ColumnKind.FIRST_NAME, "family": ColumnKind.LAST_NAME}
    assert list(row_findings(kinds, {"given": first, "family": last}, BASIS)) == (
        [("family", SAME_NAMES)] if same else []
    )


@pytest.mark.parametrize(("invalid", "passed"), [(0, True), (5, True), (6, False)])
def test_the_check_fails_above_the_share(invalid: int, passed: bool) -> None:
    finding = FindingEntry(column="phone", rule="phone.invalid", rows=invalid)
    check = validity_check(ValidationEntry(rows=100, invalid=invalid, findings=(finding,), columns={}), 0.05)
    assert (check.passed, check.blocking) == (passed, False)
    assert f"{invalid} of 100 rows" in check.message
