"""What a viewer sees of values that are sensitive."""

from __future__ import annotations

import pytest

from backup_pipeline.core.access import PERMISSIONS, Role
from backup_pipeline.core.content.masking import masked_row, masked_value, sees_whole


@pytest.mark.acceptance("4.19")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("12345678", "••••••78"),
        ("20-00-46", "••-••-46"),
        ("0161 496 0123", "•••• ••• ••23"),
        ("a.b@example.org", "•.•@•••••••.•rg"),
        ("12345", "•••••"),
        ("ab", "••"),
        ("", ""),
        (None, None),
        (90210, "•••••"),
        ("রহিম ৭৮৯০১২", "•••• ••••১২"),
    ],
)
def test_a_value_keeps_its_shape_and_its_last_two_letters_alone(value: object, shown: str | None) -> None:
    assert masked_value(value) == shown


@pytest.mark.parametrize(
    ("role", "whole"),
    [(Role.VIEWER, False), (Role.BUSINESS_ADMIN, True), (Role.ADMIN, True), (Role.SUPER_ADMIN, True)],
)
def test_who_may_download_sees_them_whole(role: Role, whole: bool) -> None:
    assert sees_whole(PERMISSIONS[role]) is whole
    row = {"name": "Siân", "account_number": "12345678"}
    seen = masked_row(row, {"account_number"}, whole=sees_whole(PERMISSIONS[role]))
    assert seen == (row if whole else {"name": "Siân", "account_number": "••••••78"})
