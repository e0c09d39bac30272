"""An encrypted bundle: its members under their plain names, and whatever is wrong with one is damage of that member."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pytest

from backup_pipeline.core.errors import DecryptError, NotFoundError, VerificationError
from backup_pipeline.core.layout import Member, bytes_member
from backup_pipeline.core.ports import OpenBundle
from backup_pipeline.formats.archive import zip_chunks
from backup_pipeline.formats.files import EncryptedFormats, FileFormats
from backup_pipeline.formats.keys import AgeCipher, new_identity, parse_identities, parse_recipients

SECRET, PUBLIC = new_identity()
WRITER = AgeCipher(parse_recipients(PUBLIC, setting="TEST"))
READER = AgeCipher((), parse_identities(SECRET, where="TEST"))
AT = datetime(2026, 11, 21, tzinfo=UTC)
SHEET = b"id,name\r\n" + b"1,a\r\n" * 10_000


def member(path: str, content: bytes, *, encrypted: bool = True) -> Member:
    return bytes_member(path, AT, WRITER.encrypted(content) if encrypted else content)


def opened(*members: Member, cipher: AgeCipher = READER) -> OpenBundle:
    data = b"".join(zip_chunks(members))
    return EncryptedFormats(FileFormats(), cipher).open_bundle(lambda at, size: data[at : at + size], len(data))


def test_what_is_bundled_comes_back_under_its_name() -> None:
    plain = [bytes_member("manifest.json", AT, b"{}"), bytes_member("README.txt", AT, b"what it holds")]
    sheet = member("sheets/A.csv.gz.age", gzip.compress(SHEET))
    data = b"".join(EncryptedFormats(FileFormats(), WRITER).bundle([*plain, sheet]))
    bundle = EncryptedFormats(FileFormats(), READER).open_bundle(lambda at, size: data[at : at + size], len(data))
    assert sorted(bundle.names()) == ["README.txt", "manifest.json", "sheets/A.csv"]
    assert b"".join(bundle.stream("README.txt")) == b"what it holds"
    assert b"".join(bundle.stream("sheets/A.csv")) == SHEET
    assert b"what it holds" not in data
    with pytest.raises(NotFoundError):
        b"".join(bundle.stream("sheets/B.csv"))


def test_a_readable_file_that_somebody_put_there_is_among_its_names() -> None:
    bundle = opened(member("manifest.json.age", b"{}"), member("sheets/Extra.csv", b"x", encrypted=False))
    assert set(bundle.names()) == {"manifest.json", "sheets/Extra.csv"}


@pytest.mark.parametrize(
    "content", [b"no gzip at all", gzip.compress(SHEET)[:-9], gzip.compress(SHEET)[:20], b""], ids=range(4)
)
def test_a_sheet_that_is_no_whole_gzip_is_damaged(content: bytes) -> None:
    bundle = opened(member("sheets/A.csv.gz.age", content))
    with pytest.raises(VerificationError, match=r"Member sheets/A\.csv\.gz\.age of the bundle is damaged"):
        b"".join(bundle.stream("sheets/A.csv"))


def test_a_turned_bit_within_a_gzip_is_damage_too() -> None:
    packed = bytearray(gzip.compress(SHEET))
    packed[-6] ^= 1
    with pytest.raises(VerificationError, match="is damaged"):
        b"".join(opened(member("sheets/A.csv.gz.age", bytes(packed))).stream("sheets/A.csv"))


def test_the_recipients_are_named_where_the_bundle_says_them() -> None:
    said = member("encryption.json", b'{"recipients": ["age1owner"]}', encrypted=False)
    with pytest.raises(DecryptError, match="is encrypted to age1owner; no key is set here"):
        b"".join(opened(said, member("a.age", b"x"), cipher=WRITER).stream("a"))
    for unsaid in (b"{}", b"[]", b"not json"):
        broken = member("encryption.json", unsaid, encrypted=False)
        with pytest.raises(DecryptError, match="is encrypted; no key is set here"):
            b"".join(opened(broken, member("a.age", b"x"), cipher=WRITER).stream("a"))
