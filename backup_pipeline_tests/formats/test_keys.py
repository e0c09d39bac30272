"""age: what is encrypted comes back, by any recipient's key and by no other, and damage never passes for data."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from backup_pipeline.core.errors import (
    DecryptError,
    DiskFullError,
    SettingsError,
    StoreUnavailableError,
    VerificationError,
)
from backup_pipeline.formats.keys import AgeCipher, new_identity, parse_identities, parse_recipients

SECRET, PUBLIC = new_identity()
OTHER_SECRET, OTHER_PUBLIC = new_identity()
SIZES = [0, 1, 65_535, 65_536, 65_537, 1 << 20]


def cipher(*recipients: str, key: str = "") -> AgeCipher:
    return AgeCipher(
        parse_recipients(" ".join(recipients), setting="TEST"), parse_identities(key, where="TEST") if key else ()
    )


def encrypted(data: bytes, *recipients: str) -> bytes:
    target = io.BytesIO()
    cipher(*recipients or (PUBLIC,)).encrypt(io.BytesIO(data), target)
    return target.getvalue()


def pieces(data: bytes, size: int = 10_000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def decrypted(data: bytes, key: str = SECRET) -> bytes:
    return b"".join(cipher(key=key).decrypt(pieces(data), "the file"))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_encrypted_comes_back(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    made = encrypted(data[:size])
    assert decrypted(made) == data[:size]
    assert data[:256] not in made


def test_each_of_several_recipients_can_read_it_alone() -> None:
    made = encrypted(b"rows", PUBLIC, OTHER_PUBLIC)
    assert decrypted(made, SECRET) == decrypted(made, OTHER_SECRET) == b"rows"


def test_a_wrong_key_and_a_missing_one_are_told_apart() -> None:
    with pytest.raises(
        DecryptError, match=rf"the file is encrypted; the key here, of {OTHER_PUBLIC}, does not open it"
    ):
        decrypted(encrypted(b"rows"), OTHER_SECRET)
    with pytest.raises(DecryptError, match="no key is set here") as missing:
        decrypted(encrypted(b"rows"), "")
    assert missing.value.exit_code == 12
    assert "BACKUP_AGE_IDENTITY_FILE" in missing.value.do


@pytest.mark.parametrize("at", [0, 30, 150, 200, 300, 70_000, -1])
def test_a_turned_bit_is_found(at: int) -> None:
    made = bytearray(encrypted(bytes(100_000)))
    made[at] ^= 1
    with pytest.raises((VerificationError, DecryptError)):
        decrypted(bytes(made))


@pytest.mark.parametrize("keep", [0, 20, 150, 300, 65_800, 99_000])
def test_a_file_that_is_cut_off_is_found(keep: int) -> None:
    with pytest.raises(VerificationError, match="the file is damaged"):
        decrypted(encrypted(bytes(100_000))[:keep])


def test_small_documents_are_text_and_say_who_opened_them() -> None:
    text = cipher(PUBLIC, OTHER_PUBLIC).armored(b"a manifest")
    assert text.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    both = f"{OTHER_SECRET}\n{SECRET}"
    assert cipher(key=both).opened(text.encode(), "it") == (b"a manifest", OTHER_PUBLIC)
    assert cipher(key=both).opened(cipher(PUBLIC).encrypted(b"x"), "it") == (b"x", PUBLIC)
    with pytest.raises(VerificationError, match="it is damaged"):
        cipher(key=SECRET).opened(text.encode()[:-60], "it")


class Full(io.BytesIO):
    """A disk with room for so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.room -= len(data)
        if self.room < 0:
            message = "no room"
            raise DiskFullError(message)
        return super().write(data)


@pytest.mark.parametrize(("size", "room"), [(10, 0), (10, 150), (100_000, 0), (100_000, 70_000), (100_000, 100_000)])
def test_a_full_disk_is_told_as_such_also_at_the_very_last_byte(size: int, room: int) -> None:
    with pytest.raises(DiskFullError):
        cipher(PUBLIC).encrypt(io.BytesIO(bytes(size)), Full(room))


@pytest.mark.parametrize("after", [0, 1, 5])
def test_what_the_store_says_meanwhile_comes_out(after: int) -> None:
    made = encrypted(bytes(100_000))

    def breaking() -> Iterator[bytes]:
        yield from (piece for _, piece in zip(range(after), pieces(made), strict=False))
        message = "503"
        raise StoreUnavailableError(message)

    with pytest.raises(StoreUnavailableError):
        b"".join(cipher(key=SECRET).decrypt(breaking(), "the file"))


def test_whoever_stops_reading_leaves_no_thread() -> None:
    stream = cipher(key=SECRET).decrypt(pieces(encrypted(bytes(1 << 22))), "the file")
    assert len(next(stream)) > 0
    assert "pump" in {thread.name for thread in threading.enumerate()}
    stream.close()  # type: ignore[attr-defined]
    assert "pump" not in {thread.name for thread in threading.enumerate()}


def test_little_is_held_in_memory() -> None:
    taken = 0
    piece = bytes(1 << 16)
    held = encrypted(bytes(1 << 24))

    def counted() -> Iterator[bytes]:
        nonlocal taken
        for chunk in pieces(held, len(piece)):
            taken += len(chunk)
            yield chunk

    stream = cipher(key=SECRET).decrypt(counted(), "the file")
    next(stream)
    assert taken < 4 << 20
    assert 1 + sum(1 for _ in stream) > 50


@pytest.mark.skipif(which("age") is None, reason="the age program is not installed")
def test_the_age_program_reads_it(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(SECRET)
    (tmp_path / "file.age").write_bytes(encrypted(b"rows" * 50_000))
    done = subprocess.run(["age", "-d", "-i", "key.txt", "file.age"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"rows" * 50_000


def test_recipients_are_taken_as_people_write_them() -> None:
    ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"
    found = parse_recipients(f"  {PUBLIC}\n{ssh} {PUBLIC} ", setting="TEST")
    assert [recipient.name for recipient in found] == [PUBLIC, ssh]
    assert parse_recipients("", setting="TEST") == ()


@pytest.mark.parametrize(
    "text", ["age1nonsense", PUBLIC[:-1], "me@example.com", "ssh-ed25519", "ssh-rsa AAAA", "age1"], ids=range(6)
)
def test_what_is_no_recipient_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="BACKUP_AGE_RECIPIENTS: ") as wrong:
        parse_recipients(f"{PUBLIC} {text}", setting="BACKUP_AGE_RECIPIENTS")
    assert text in wrong.value.what


def test_a_private_key_among_the_recipients_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="holds a private key") as wrong:
        parse_recipients(SECRET, setting="BACKUP_AGE_RECIPIENTS")
    assert SECRET not in str(wrong.value)


def test_identities_are_read_as_age_keygen_writes_them() -> None:
    text = f"# created: now\n# public key: {PUBLIC}\n{SECRET}\n\n{OTHER_SECRET}\n"
    assert [found.name for found in parse_identities(text, where="key.txt")] == [PUBLIC, OTHER_PUBLIC]
    assert SECRET not in repr(parse_identities(text, where="key.txt"))


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "AGE-SECRET-KEY-1WRONG", "-----BEGIN OPENSSH PRIVATE KEY-----\nx"]
)
def test_what_is_no_private_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match=r"key\.txt holds") as wrong:
        parse_identities(text, where="key.txt")
    assert "WRONG" not in str(wrong.value)
