"""The table of roles and permissions, as the design has it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backup_pipeline.core.access import Permission, Role, User, check_permission
from backup_pipeline.core.access.sessions import Failures, account_key, address_key
from backup_pipeline.core.errors import RefusedError

AT = datetime(2026, 11, 21, tzinfo=UTC)
P = Permission
OWN = {P.SEE, P.RUN_BACKUP, P.DOWNLOAD, P.REQUEST_RESTORE}
CARE = {P.HOLD, P.VERIFY, P.DRILL, P.HANDLE_ALERTS, P.SEE_AUDIT}
TABLE = {Role.VIEWER: {P.SEE}, Role.BUSINESS_ADMIN: OWN, Role.ADMIN: OWN | CARE, Role.SUPER_ADMIN: set(P)}


def _user(role: Role, **more: Any) -> User:
    return replace(User(1, "karim", role, AT), **more)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_each_role_may_what_the_table_says(role: Role, permission: Permission) -> None:
    assert _user(role).may(permission) is (permission in TABLE[role])


@pytest.mark.parametrize("permission", Permission)
def test_a_viewers_switches_add_running_and_downloading(permission: Permission) -> None:
    user = _user(Role.VIEWER, may_run=True, may_download=True)
    assert user.may(permission) is (permission in {P.SEE, P.RUN_BACKUP, P.DOWNLOAD})


def test_nobody_who_is_disabled_may_anything() -> None:
    assert not any(_user(Role.SUPER_ADMIN, disabled_at=AT).may(permission) for permission in Permission)


def test_a_business_admin_sees_only_their_businesses() -> None:
    user = _user(Role.BUSINESS_ADMIN, businesses=("rupa",))
    assert [user.sees(business) for business in ("rupa", "dhaka", None)] == [True, False, False]
    assert all(_user(role).sees(None) for role in (Role.VIEWER, Role.ADMIN, Role.SUPER_ADMIN))


def test_a_refusal_says_who_and_what_to_do() -> None:
    with pytest.raises(RefusedError, match=r"karim \(business admin\) may not approve") as raised:
        check_permission(_user(Role.BUSINESS_ADMIN), Permission.APPROVE)
    assert "backup-pipeline user set" in (raised.value.do or "")


def test_tries_at_the_same_moment_do_not_make_each_other_wait() -> None:
    """What began later may be counted first: then the last failure is after the present of who asks."""
    soon = AT + timedelta(milliseconds=20)
    for key, free in ((account_key("karim"), 3), (address_key("10.0.0.1"), 12)):
        assert all(Failures(key, count, soon).wait_until(AT) is None for count in range(free))
        assert Failures(key, free, soon).wait_until(AT) == soon + timedelta(seconds=1)
