"""Members of a bundle: opened by ranges, read, and compared with their SHA-256 as they pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from backup_pipeline.core.errors import NotFoundError, VerificationError
from backup_pipeline.core.limits import bounded
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.core.progress import StageStarted
from backup_pipeline.core.verification import Finding, Level, LevelReport
from backup_pipeline.operations.ranges import Ranges
from backup_pipeline.operations.verify.asked import Subject, VerifyPorts


def opened_bundle(at: Subject, ports: VerifyPorts, level: Level, stage: str) -> tuple[OpenBundle | None, LevelReport]:
    """The bundle, or None and the report that says why it can not be opened."""
    ports.progress.tell(StageStarted(stage, at.size))
    ranges = Ranges(ports.store, at.key, at.size, ports.progress)
    try:
        return ports.formats.open_bundle(ranges.read, at.size), LevelReport(level, ())
    except (NotFoundError, VerificationError) as error:
        return None, LevelReport(level, (at.key,), findings=(Finding(level, at.key, error.what),))


class Hashed:
    """A member's bytes, hashed as they are taken. `problem` reads what is left of them, and says what is wrong."""

    def __init__(self, bundle: OpenBundle, name: str, sha256: str | None, most: int | None = None) -> None:
        """With `most` bytes at most: what goes on after those is damaged."""
        chunks = bundle.stream(name)
        self._chunks = chunks if most is None else bounded(chunks, most, f"Member {name} of the bundle")
        self._seen = hashlib.sha256()
        self._sha256 = sha256
        self._damage: str | None = None

    def chunks(self) -> Iterator[bytes]:
        """The bytes; they end early where the member is damaged."""
        try:
            for chunk in self._chunks:
                self._seen.update(chunk)
                yield chunk
        except (NotFoundError, VerificationError) as error:
            self._damage = error.what

    def problem(self) -> str | None:
        """What is wrong with the bytes, or None."""
        for _ in self.chunks():
            pass
        if self._damage or self._sha256 in {None, self._seen.hexdigest()}:
            return self._damage
        return f"has the SHA-256 {self._seen.hexdigest()}; the manifest says {self._sha256}."


def member_problem(bundle: OpenBundle, name: str, sha256: str | None, most: int | None = None) -> str | None:
    """What is wrong with the bytes of a member, or None."""
    return Hashed(bundle, name, sha256, most).problem()
