"""Steps in which somebody damages a backup by hand, or puts its bytes back as they were."""

from __future__ import annotations

from backup_pipeline_tests.faults.soak.model import Damage, Harm, Kept
from backup_pipeline_tests.faults.soak.turn import Turn

_HARMS = (Harm.FLIP, Harm.FLIP, Harm.FLIP, Harm.CUT, Harm.OTHER, Harm.NO_BUNDLE, Harm.NO_MANIFEST, Harm.SPOILT_MANIFEST)
_MOST = 0.4
"""Of the backups: some have to stay whole."""


def damage(turn: Turn) -> str:
    """One object of a backup is changed, or taken away; or it is put back as it was."""
    damaged = [kept for kept in turn.site.good.values() if kept.damage and kept.damage.harm is not Harm.REMOVING]
    whole = turn.whole()
    many = len(damaged) >= _MOST * (len(damaged) + len(whole))
    if damaged and (many or turn.chance.random() < 0.25):
        return _mend(turn, turn.chance.choice(damaged))
    return do_harm(turn, turn.chance.choice(whole), turn.chance.choice(_HARMS)) if whole else "there is none"


def do_harm(turn: Turn, kept: Kept, harm: Harm) -> str:
    """Damage one backup so."""
    store = turn.site.store
    key = kept.manifest if harm in (Harm.NO_MANIFEST, Harm.SPOILT_MANIFEST) else kept.bundle
    before = store.read(key)
    after = _harmed(turn, harm, before)
    if after is None:
        store.delete(key)
    else:
        store.write(key, after)
    in_bytes = harm is Harm.FLIP or (harm is Harm.OTHER and after is not None and len(after) == len(before))
    kept.damage, kept.told = Damage(harm, key, before, 1 if in_bytes else 0), False
    turn.count("damages", harm)
    return f"{kept.backup_id}: {harm}"


def _harmed(turn: Turn, harm: Harm, data: bytes) -> bytes | None:
    """The bytes after the damage; None where the object is gone."""
    chance = turn.chance
    if harm in (Harm.NO_BUNDLE, Harm.NO_MANIFEST):
        return None
    if harm is Harm.CUT:
        return data[: chance.randrange(len(data))]
    if harm is Harm.OTHER:
        others = [kept for kept in turn.whole() if turn.site.store.read(kept.bundle) != data]
        return turn.site.store.read(chance.choice(others).bundle) if others else data[:-1]
    at = chance.randrange(len(data))
    if harm is Harm.SPOILT_MANIFEST:
        at = chance.choice([place for place, byte in enumerate(data) if chr(byte).isdigit()])
        return data[:at] + (b"7" if data[at : at + 1] != b"7" else b"8") + data[at + 1 :]
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _mend(turn: Turn, kept: Kept) -> str:
    """The bytes are as they were. That its verification failed stands in the row until a deeper one passes."""
    assert kept.damage is not None
    turn.site.store.write(kept.damage.key, kept.damage.before)
    kept.damage = None
    turn.count("damages", "put back as it was")
    return f"{kept.backup_id}: put back as it was"
