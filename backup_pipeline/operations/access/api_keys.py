"""The care for keys of programs: made, shown once, limited, revoked; each leaves an audit row, never with the key."""

from __future__ import annotations

from backup_pipeline.core.access.api_keys import ApiKey, NewKey, check_limit, new_key, shown_of
from backup_pipeline.core.access.sessions import digest
from backup_pipeline.core.errors import NotFoundError, UsageError
from backup_pipeline.core.scope import Actor
from backup_pipeline.operations.access import AccessPorts


def create_key(wanted: NewKey, ports: AccessPorts, actor: Actor) -> tuple[ApiKey, str]:
    """A new key, and the text that its program sends, which is known only now. UsageError when the name is taken."""
    now, secret = ports.clock(), new_key()
    if wanted.expires_at is not None and wanted.expires_at <= now:
        message = f"The key would have expired at {wanted.expires_at.isoformat(timespec='seconds')} already."
        raise UsageError(message, do="Choose a time that is to come, or none.")
    key = ports.access.keys.add(wanted, shown_of(secret), digest(secret), actor, now)
    known = {"key": key.name, "shown": key.shown, "permissions": list(key.permissions), "limit": key.limit}
    more = {"business": key.business, "expires_at": key.expires_at.isoformat() if key.expires_at else None}
    ports.audit(actor, "api_key_made", **known, **{name: value for name, value in more.items() if value})
    return key, secret


def revoke_key(number: int, ports: AccessPorts, actor: Actor) -> ApiKey:
    """End a key: its next call is refused. NotFoundError where there is none, or it was revoked before."""
    key = ports.access.keys.revoke(number, ports.clock())
    if key is None:
        message = f"There is no key {number} that could be revoked."
        raise NotFoundError(message, do="`backup-pipeline key api list` shows what there is.")
    ports.audit(actor, "api_key_revoked", key=key.name, shown=key.shown)
    return key


def limit_key(number: int, limit: int, ports: AccessPorts, actor: Actor) -> ApiKey:
    """Give a key another limit. UsageError for one that can not be, NotFoundError where there is no such key."""
    check_limit(limit)
    before = ports.access.keys.get(number)
    key = ports.access.keys.set_limit(number, limit) if before is not None else None
    if key is None or before is None:
        message = f"There is no key {number}."
        raise NotFoundError(message, do="`backup-pipeline key api list` shows what there is.")
    ports.audit(actor, "api_key_limited", key=key.name, before=before.limit, after=limit)
    return key


def key_named(name: str, ports: AccessPorts) -> ApiKey:
    """The key of that name, or that begins so; NotFoundError when there is none."""
    known = ports.access.keys.list()
    for key in known:
        if key.name.casefold() == name.casefold() or key.shown == name:
            return key
    message = f"There is no key {name}."
    raise NotFoundError(message, do="`backup-pipeline key api list` shows what there is.")
