"""age keys as people write them: recipients in a setting, identities in a file; and a new pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyrage

from backup_pipeline.core.errors import SettingsError

_SSH = ("ssh-ed25519", "ssh-rsa")
_SECRET = "AGE-SECRET-KEY-1"  # noqa: S105  how a secret begins, none itself
_PEM = "-----BEGIN "
_RECIPIENTS_FORM = (
    "Give age1… (`backup-pipeline key new` makes one), ssh-ed25519 … or ssh-rsa …, separated by spaces, "
    "without comments."
)
_IDENTITY_FORM = "Give a file of `backup-pipeline key new` or age-keygen, or an SSH private key without a passphrase."


@dataclass(frozen=True)
class Recipient:
    """A public key: as people write it, and as pyrage takes it."""

    name: str
    key: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Identity:
    """A private key: `name` is its public key, where that can be told. Never shows itself."""

    name: str
    key: Any = field(repr=False, compare=False)


def parse_recipients(text: str, *, setting: str) -> tuple[Recipient, ...]:
    """The recipients in `text`, each once; SettingsError, naming the one that is wrong."""
    found = {name: _recipient(name, setting) for name in _names(text.split())}
    return tuple(found.values())


def _names(words: Sequence[str]) -> Iterator[str]:
    """One name a recipient: that of an SSH key is two words."""
    rest = iter(words)
    for word in rest:
        yield f"{word} {next(rest, '')}" if word in _SSH else word


def _recipient(name: str, setting: str) -> Recipient:
    kind = pyrage.ssh if name.startswith(_SSH) else pyrage.x25519
    if name.upper().startswith(_SECRET):
        message = f"{setting} holds a private key (AGE-SECRET-KEY-…)."
        raise SettingsError(message, do=f"Take it out, and give its public key. {_RECIPIENTS_FORM}")
    try:
        return Recipient(name, kind.Recipient.from_str(name))
    except pyrage.RecipientError as error:
        message = f"{setting}: {name!r} is no age recipient: {error}."
        raise SettingsError(message, do=_RECIPIENTS_FORM) from None


def parse_identities(text: str, *, where: str) -> tuple[Identity, ...]:
    """The private keys in `text`, a file's content: age's, one a line, or one of SSH. SettingsError names `where`."""
    if text.lstrip().startswith(_PEM):
        return (_ssh_identity(text, where),)
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        message = f"{where} holds no private key."
        raise SettingsError(message, do=_IDENTITY_FORM)
    return tuple(_identity(key, where) for key in keys)


def _identity(key: str, where: str) -> Identity:
    try:
        found = pyrage.x25519.Identity.from_str(key)
    except pyrage.IdentityError:  # its text may hold the key
        message = f"{where} holds a line that is no age private key."
        raise SettingsError(message, do=_IDENTITY_FORM) from None
    return Identity(str(found.to_public()), found)


def _ssh_identity(text: str, where: str) -> Identity:
    try:
        return Identity(f"the SSH key in {where}", pyrage.ssh.Identity.from_buffer(text.encode()))
    except pyrage.IdentityError as error:
        message = f"{where} holds an SSH key that can not be used: {error}."
        raise SettingsError(message, do=_IDENTITY_FORM) from None


def new_identity() -> tuple[str, str]:
    """A new pair: the private key, and its recipient."""
    made = pyrage.x25519.Identity.generate()
    return str(made), str(made.to_public())
