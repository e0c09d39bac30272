"""Check a key: does it open a backup? Nothing of the backup is given out."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.core.encryption import Cipher, no_key
from backup_pipeline.core.errors import DecryptError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.limits import MOST_DOCUMENT, whole
from backup_pipeline.core.outline import Outline, hidden
from backup_pipeline.core.ports import Store
from backup_pipeline.operations.browse import bundle_place
from backup_pipeline.operations.download import Witness


@dataclass(frozen=True)
class KeyCheck:
    """What came out: to whom the backup is encrypted (to nobody: anybody can read it), and which key opened it."""

    backup_id: str
    recipients: tuple[str, ...]
    opened_by: str | None


def check_key(attempt: Attempt, store: Store, cipher: Cipher, witness: Witness) -> KeyCheck:
    """Open the manifest of `attempt` with the keys of `cipher`; the audit says that one was used.

    DecryptError, naming the recipients, when none opens it; NotFoundError when there is no backup.
    """
    place = bundle_place(attempt)
    where = f"{store.url}/{place.manifest}"
    found = hidden(whole(store.stream(place.manifest), MOST_DOCUMENT, where), where)
    if not isinstance(found, Outline):
        return KeyCheck(attempt.backup_id, (), None)
    try:
        _, identity = cipher.opened(found.ciphertext.encode(), where)
    except DecryptError as error:
        what = f"Backup {attempt.backup_id}"
        raise no_key(what, found.encryption.recipients, cipher.holders) from error
    witness.note("key used", attempt, identity=identity, reason="key check")
    return KeyCheck(attempt.backup_id, found.encryption.recipients, identity)
