"""What must hold after any fault, looked up without the program: by plain reading of store, ledger and work folder."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow.parquet as pq

from backup_pipeline_tests.faults.world import GOOD, ROWS, World

_BACKUPS, _TABLES, _MANIFEST, _RECORD = "shop/backups/", "shop/tables/", "/manifest.json", "/partition.json"


def assert_nothing_partial(world: World) -> None:
    """What looks like a backup, in the ledger or in the store, is one, whole and with every row of the source."""
    objects = world.shelf.objects()
    for key in objects:
        if key.startswith(_BACKUPS) and key.endswith(_MANIFEST):
            _assert_whole(key, objects)
        if key.startswith(_TABLES) and key.endswith(_RECORD):
            _assert_partition(key, objects)
    listed = {row["backup_id"] for row in world.rows() if row["status"] in GOOD}
    there = _ids(objects)
    assert listed <= there, f"listed, but not there: {listed - there}"


def made(world: World) -> frozenset[str]:
    """The ids of the backups whose manifest is in the store."""
    return _ids(world.shelf.objects())


def _ids(keys: Iterable[str]) -> frozenset[str]:
    found = (key for key in keys if key.startswith(_BACKUPS) and key.endswith(_MANIFEST))
    return frozenset(key.rsplit("/", 2)[-2] for key in found)


def _assert_whole(key: str, objects: Mapping[str, bytes]) -> None:
    manifest = json.loads(objects[key])
    bundle = objects[key.removesuffix(_MANIFEST) + "/" + manifest["bundle"]["name"]]
    assert hashlib.sha256(bundle).hexdigest() == manifest["bundle"]["sha256"]
    assert {table["name"]: table["row_count"] for table in manifest["tables"]} == ROWS
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        for path, sha256 in manifest["entries"].items():
            assert hashlib.sha256(archive.read(path)).hexdigest() == sha256, path
        for name, count in ROWS.items():
            read = archive.read(f"parquet/{name}/part-00000.parquet")
            assert pq.read_metadata(io.BytesIO(read)).num_rows == count


def _assert_partition(key: str, objects: Mapping[str, bytes]) -> None:
    for file in _files(objects[key]):
        stored = objects[key.removesuffix(_RECORD) + "/" + file["name"]]
        assert hashlib.sha256(stored).hexdigest() == file["sha256"], file["name"]


def _files(record: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(record)["table"]["files"]
    return found


def assert_no_debris(world: World) -> None:
    """The store holds the objects of the listed backups and of their dates, and nothing else; so does this machine."""
    objects = world.shelf.objects()
    wanted: set[str] = set()
    for row in world.rows():
        if row["status"] in GOOD:
            folder = row["file_path"].rpartition("/")[0]
            day = folder.split("/")[2]
            wanted |= {row["file_path"], folder + _MANIFEST, f"shop/schema/{day}/schema.sql"}
            for table in ROWS:
                place = f"shop/tables/{table}/{day}"
                wanted |= {place + _RECORD, *(f"{place}/{file['name']}" for file in _files(objects[place + _RECORD]))}
    assert set(objects) == wanted
    assert world.shelf.uploads() == []
    work = world.home / "work"
    left = [path for path in work.rglob("*") if path.is_file()] if work.is_dir() else []
    assert left == []
    assert world.sessions() == 0


def assert_all_ended(world: World) -> None:
    """No row runs any more, and a row that failed says why."""
    for row in world.rows():
        assert row["status"] in {*GOOD, "failed", "expired"}, row
        assert row["status"] != "failed" or row["error_message"], row
        assert row["finished_at"] is not None
