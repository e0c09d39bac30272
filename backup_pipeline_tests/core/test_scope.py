"""What a piece of work is about: its names, its folder, its key."""

from __future__ import annotations

import pytest

from backup_pipeline.core.scope import Purpose, Scope, parse_scope

_SCOPES = {
    "isp": Scope("isp"),
    "isp_before_restore": Scope("isp", purpose=Purpose.SAFETY),
    "retail/businesses/42": Scope("retail", business="42"),
    "retail_before_restore/businesses/a-1.b": Scope("retail", business="a-1.b", purpose=Purpose.SAFETY),
}


@pytest.mark.parametrize("key", _SCOPES)
def test_the_key_is_the_folder_and_is_read_back(key: str) -> None:
    scope = _SCOPES[key]
    assert (scope.key, scope.folder, str(scope)) == (key, key, key)
    assert parse_scope(key) == scope


def test_the_safety_scope_keeps_the_business_and_is_its_own() -> None:
    safety = Scope("retail", business="42").safety
    assert safety == Scope("retail", business="42", purpose=Purpose.SAFETY)
    assert safety.safety == safety


@pytest.mark.parametrize("catalog", ["", "Isp", "../isp", "isp/x", "isp_before_restore", "a" * 41])
def test_a_catalog_that_can_be_no_folder_is_refused(catalog: str) -> None:
    with pytest.raises(ValueError, match="is not a catalog's name"):
        Scope(catalog)


@pytest.mark.parametrize("business", ["", ".", "..", "a/b", "a\\b", "-a", "a.", "con", "NUL.x", "a b", "ক", "a" * 65])
def test_a_business_that_can_be_no_folder_is_refused(business: str) -> None:
    with pytest.raises(ValueError, match="is not a business's key"):
        Scope("retail", business=business)


@pytest.mark.parametrize("key", ["", "isp/", "isp/tables/x", "isp/businesses/", "isp/businesses/a/b", "/isp"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"neither a catalog|is not a"):
        parse_scope(key)
