"""A store as it really is, past the program under test: what lies there, and hands that damage it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class RawStore(Protocol):
    """Objects by their keys."""

    def sizes(self) -> dict[str, int]:
        """Every object's key and size."""

    def read(self, key: str) -> bytes:
        """The object."""

    def write(self, key: str, data: bytes) -> None:
        """Put other bytes there."""

    def delete(self, key: str) -> None:
        """Remove it."""

    def unfinished(self) -> list[str]:
        """Uploads that nobody completed, files that never got their name."""


@dataclass(frozen=True)
class RawDirectory:
    """A directory store."""

    root: Path

    def sizes(self) -> dict[str, int]:
        found = {str(path.relative_to(self.root)): path for path in self.root.rglob("*") if path.is_file()}
        return {key: path.stat().st_size for key, path in sorted(found.items()) if not key.startswith(".partial")}

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        """A new file: the old one may have a second name somewhere."""
        beside = self.root / f"{key}.new"
        beside.write_bytes(data)
        beside.replace(self.root / key)

    def delete(self, key: str) -> None:
        (self.root / key).unlink()

    def unfinished(self) -> list[str]:
        return [path.name for path in (self.root / ".partial").glob("*")]


@dataclass(frozen=True)
class RawBucket:
    """A bucket of the S3 server."""

    client: Any
    bucket: str

    def sizes(self) -> dict[str, int]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}

    def read(self, key: str) -> bytes:
        data = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        assert isinstance(data, bytes)
        return data

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def unfinished(self) -> list[str]:
        return [found["Key"] for found in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]
