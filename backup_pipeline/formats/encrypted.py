"""The port `Formats` with encryption: files leave it encrypted, and an encrypted bundle reads as if it were not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from backup_pipeline.core.bundle import Member
from backup_pipeline.core.encryption import ENCRYPTED, Cipher
from backup_pipeline.core.manifest import Manifest
from backup_pipeline.core.plans import TablePlan
from backup_pipeline.core.ports import Formats, OpenBundle, TableWriter
from backup_pipeline.core.rendering import Rendering
from backup_pipeline.formats.encrypted_bundle import EncryptedBundle, encrypted_members
from backup_pipeline.formats.encrypted_writer import EncryptedWriter


class EncryptedFormats:
    """`inner`, with everything that goes to the store encrypted by `cipher`, and decrypted when it comes back.

    Without recipients nothing is encrypted; without identities encrypted bundles can be listed, not read.
    """

    def __init__(self, inner: Formats, cipher: Cipher) -> None:
        self._inner, self._cipher = inner, cipher
        self._previews: dict[Path, str] = {}

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who can read the files; empty when anybody can."""
        return self._cipher.recipients

    def writer(self, plan: TablePlan, directory: Path, timezone: str) -> TableWriter:
        """A writer whose files are encrypted when it closes."""
        inner = self._inner.writer(plan, directory, timezone)
        if not self._cipher.recipients:
            return inner

        def look() -> None:
            self._previews[directory] = self._inner.preview(plan, directory)

        return EncryptedWriter(inner, directory, self._cipher, before=look)

    def preview(self, plan: TablePlan, directory: Path) -> str:
        """The first rows of the sheet, as they were seen before it was encrypted."""
        seen = self._previews.pop(directory, None)
        return self._inner.preview(plan, directory) if seen is None else seen

    def bundle(self, members: Iterable[Member]) -> Iterator[bytes]:
        """The members as one ZIP, each encrypted; files that are encrypted already go in as they are."""
        return self._inner.bundle(encrypted_members(members, self._cipher) if self._cipher.recipients else members)

    def open_bundle(self, read_range: Callable[[int, int], bytes], size: int) -> OpenBundle:
        """The bundle, its members decrypted as they are read; DecryptError when no identity opens one."""
        bundle = self._inner.open_bundle(read_range, size)
        encrypted = any(name.endswith(ENCRYPTED) for name in bundle.names())
        return EncryptedBundle(bundle, self._cipher) if encrypted else bundle

    def readme(self, manifest: Manifest, schema: str) -> str:
        """The README of a bundle, once it is decrypted."""
        return self._inner.readme(manifest, schema)

    def render(self, kind: Rendering, manifest: Manifest, bundle: OpenBundle, target: BinaryIO) -> None:
        """As the inner formats do; `bundle` decrypts itself."""
        self._inner.render(kind, manifest, bundle, target)

    def copy_rows(self, file: Path, columns: Sequence[str], binary: Sequence[str] | None = None) -> Iterator[bytes]:
        """As the inner formats do; `file` is plain."""
        return self._inner.copy_rows(file, columns, binary)
