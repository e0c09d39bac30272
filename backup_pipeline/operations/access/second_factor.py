"""The second factor: one-time passwords by the clock (RFC 6238), and recovery codes for a lost telephone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backup_pipeline.core.access import Credentials, User
from backup_pipeline.core.access.sessions import digest
from backup_pipeline.core.errors import RefusedError, UsageError
from backup_pipeline.core.scope import Actor
from backup_pipeline.lazy import lazily

if TYPE_CHECKING:
    from backup_pipeline.operations.access import AccessPorts

with lazily():
    import pyotp

ISSUER = "backup_pipeline"
_STEP_S = 30
_AROUND = (0, -1, 1)
"""Clocks of telephones are a little off: the code of the step before or after counts, too."""
_CODES = 10
_DIGITS = re.compile(r"[0-9]{6}")


@dataclass(frozen=True)
class Setup:
    """What the owner of a telephone scans, once: the address `otpauth://…`, and the secret in letters to type."""

    address: str
    secret: str


def set_up(user: User, ports: AccessPorts) -> Setup:
    """A new secret, which counts once a code of it was given (`confirm_set_up`). RefusedError where one counts."""
    known = ports.access.users.credentials(user.number)
    if known.totp_at is not None:
        message = "A second factor is set up already."
        raise RefusedError(message, do="Take it away first.")
    secret = pyotp.random_base32()
    sealed = ports.sealer.seal(secret)
    ports.access.users.change_credentials(user.number, totp_secret=sealed, totp_step=None, recovery_codes=())
    ports.audit(user.actor, "second_factor_begun", user=user.name)
    return _setup_of(user, secret)


def pending_set_up(user: User, ports: AccessPorts) -> Setup | None:
    """The secret that waits for its first code; None when there is none."""
    known = ports.access.users.credentials(user.number)
    if known.totp_secret is None or known.totp_at is not None:
        return None
    return _setup_of(user, ports.sealer.unseal(known.totp_secret))


def _setup_of(user: User, secret: str) -> Setup:
    return Setup(pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name=ISSUER), secret)


def confirm_set_up(user: User, code: str, ports: AccessPorts) -> tuple[str, ...]:
    """Ask for codes from now on, since the telephone gives the right one; the recovery codes, shown only here.

    UsageError when the code is wrong.
    """
    known = ports.access.users.credentials(user.number)
    if known.totp_secret is None or known.totp_at is not None:
        message = "There is no second factor that waits for its first code."
        raise UsageError(message, do="Set one up first.")
    if not _is_code_of(user, ports.sealer.unseal(known.totp_secret), code, ports):
        message = "That is not the code of the present half minute."
        raise UsageError(message, do="Check that the telephone's clock is right, and type the code that it shows now.")
    codes = tuple(_grouped(ports.new_token()) for _ in range(_CODES))
    digests = tuple(digest(_plain(code)) for code in codes)
    ports.access.users.change_credentials(user.number, totp_at=ports.clock(), recovery_codes=digests)
    ports.audit(user.actor, "second_factor_set_up", user=user.name)
    return codes


def take_away(user: User, ports: AccessPorts, actor: Actor) -> None:
    """Ask for no code of the user any more; somebody else may do it where the telephone is lost."""
    ports.access.users.change_credentials(
        user.number, totp_secret=None, totp_at=None, totp_step=None, recovery_codes=()
    )
    ports.audit(actor, "second_factor_taken_away", user=user.name)


def is_right_code(user: User, known: Credentials, code: str, ports: AccessPorts) -> bool:
    """Whether `code` is a one-time password or a recovery code of the user; it is none from then on."""
    plain = _plain(code)
    if not plain or known.totp_secret is None:
        return False
    if _DIGITS.fullmatch(plain):
        return _is_code_of(user, ports.sealer.unseal(known.totp_secret), plain, ports)
    if ports.access.users.use_recovery_code(user.number, digest(plain)):
        ports.audit(user.actor, "recovery_code_used", user=user.name)
        return True
    return False


def _is_code_of(user: User, secret: str, code: str, ports: AccessPorts) -> bool:
    now, totp = ports.clock(), pyotp.TOTP(secret)
    step = int(now.timestamp()) // _STEP_S
    for around in _AROUND:
        if totp.verify(_plain(code), for_time=(step + around) * _STEP_S):
            return ports.access.users.use_step(user.number, step + around)
    return False


def _grouped(token: str) -> str:
    """16 characters of a random token, in four groups that can be read aloud."""
    letters = digest(token)[:16]
    return "-".join(letters[start : start + 4] for start in range(0, 16, 4))


def _plain(code: str) -> str:
    return "".join(code.split()).replace("-", "").lower()
