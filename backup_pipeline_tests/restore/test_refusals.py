"""What a restore refuses, with the way out; and whatever goes wrong on the way, the target is as it was."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.errors import (
    BackupError,
    LockedError,
    NotFoundError,
    PreflightRefusedError,
    TargetError,
    UsageError,
    VerificationError,
)
from backup_pipeline.core.restore import Mode
from backup_pipeline.core.restore.dump import Dump, DumpEntry
from backup_pipeline.operations.browse import place_of
from backup_pipeline.operations.restore.transfer import plan_restore
from backup_pipeline.postgres.restore import PostgresTarget
from backup_pipeline_tests.restore.bench import Bench, back_up, everything, one, refusals, rows, run, warnings

SHOP = """
CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL, price numeric(10, 2));
CREATE TABLE sold (id int PRIMARY KEY, good_id int REFERENCES goods, note varchar(20));
INSERT INTO goods SELECT n, 'good ' || n, n FROM generate_series(1, 50) n;
INSERT INTO sold SELECT n, n % 50 + 1, 'sale ' || n FROM generate_series(1, 100) n;
"""


@pytest.fixture
def shop(fresh_database: str, tmp_path: Path) -> Bench:
    run(fresh_database, SHOP)
    return back_up(fresh_database, tmp_path)


@pytest.fixture
def clerk(fresh_database: str) -> Iterator[str]:
    """The URL of a role that owns nothing, in the same database."""
    name = f"clerk_{uuid.uuid4().hex[:8]}"
    run(fresh_database, f"CREATE ROLE {name} LOGIN PASSWORD 'clerk'")
    yield f"postgresql://{name}:clerk@{fresh_database.rpartition('@')[2]}"
    run(fresh_database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def assert_unchanged(bench: Bench, url: str, mode: Mode, error: type[BackupError], *tables: str) -> BackupError:
    before = everything(url)
    with pytest.raises(error) as raised:
        bench.restore(url, mode, *tables)
    assert everything(url) == before
    return raised.value


def test_a_new_column_gets_its_default_and_old_values_stay(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "ALTER TABLE goods ADD stock int NOT NULL DEFAULT 7, ADD color text")
    run(
        fresh_database,
        "UPDATE goods SET stock = 99, color = 'red', name = 'x'; DELETE FROM goods WHERE id > 50 OR FALSE",
    )
    run(fresh_database, "UPDATE sold SET good_id = 1; DELETE FROM goods WHERE id = 2")
    plan = shop.plan(fresh_database, Mode.REPLACE)
    assert plan.tables[0].kept["stock"].endswith("rows that are there keep their value, new rows get its default")
    shop.restore(fresh_database, Mode.REPLACE)
    found = "SELECT name, stock, color FROM goods WHERE id IN (1, 2) ORDER BY id"
    assert rows(fresh_database, found) == [("good 1", 99, "red"), ("good 2", 7, None)]


def test_a_new_column_that_must_have_a_value(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "ALTER TABLE goods ADD code text; UPDATE goods SET code = id, name = 'x'")
    run(fresh_database, "ALTER TABLE goods ALTER code SET NOT NULL")
    assert "if a row is missing from the target, the restore stops" in warnings(shop.plan(fresh_database, Mode.REPLACE))
    shop.restore(fresh_database, Mode.REPLACE)
    assert one(fresh_database, "SELECT code || name FROM goods WHERE id = 3") == "3good 3"
    run(fresh_database, "UPDATE sold SET good_id = 1; DELETE FROM goods WHERE id = 2")
    error = assert_unchanged(shop, fresh_database, Mode.REPLACE, PreflightRefusedError)
    assert '"code"' in error.what
    assert "--fill" in error.do
    shop.restore(fresh_database, Mode.REPLACE, fill={"goods.code": "it's 2"})
    assert one(fresh_database, "SELECT code FROM goods WHERE id = 2") == "it's 2"
    run(fresh_database, "TRUNCATE sold, goods")
    assert "public.goods needs a value for code" in refusals(shop.plan(fresh_database, Mode.UPSERT))
    shop.restore(fresh_database, Mode.UPSERT, fill={"goods.code": "filled"})
    assert rows(fresh_database, "SELECT DISTINCT code FROM goods") == [("filled",)]
    default = "SELECT count(*) FROM pg_attrdef WHERE adrelid = 'goods'::regclass"
    assert one(fresh_database, default) == 0


def test_a_column_that_is_gone_is_said(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "ALTER TABLE goods DROP price; UPDATE goods SET name = 'x'")
    assert "The target has no column price" in warnings(shop.plan(fresh_database, Mode.UPSERT))
    shop.restore(fresh_database, Mode.UPSERT)
    assert one(fresh_database, "SELECT name FROM goods WHERE id = 9") == "good 9"


def test_a_column_of_another_type(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "ALTER TABLE goods ALTER price TYPE numeric(12, 3), ALTER name TYPE varchar(7)")
    run(fresh_database, "UPDATE sold SET good_id = NULL; DELETE FROM goods WHERE id > 9")
    run(fresh_database, "ALTER TABLE goods ALTER name TYPE varchar(6)")
    with pytest.raises(TargetError, match=r"too long for type character varying\(6\) \(row 10, column name\)"):
        shop.restore(fresh_database, Mode.REPLACE)
    assert one(fresh_database, "SELECT count(*) FROM goods") == 9
    run(fresh_database, "ALTER TABLE goods ALTER name TYPE varchar(9)")
    assert "was text and is character varying(9) now" in warnings(shop.plan(fresh_database, Mode.REPLACE))
    shop.restore(fresh_database, Mode.REPLACE)
    assert one(fresh_database, "SELECT sum(price)::text FROM goods") == "1275.000"
    run(fresh_database, "ALTER TABLE goods ALTER price TYPE numeric(10, 1)")
    assert "values could be altered" in refusals(shop.plan(fresh_database, Mode.REPLACE))


def test_a_row_whose_parent_is_nowhere(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "UPDATE sold SET good_id = 1; DELETE FROM goods WHERE id > 40")
    error = assert_unchanged(shop, fresh_database, Mode.REPLACE, PreflightRefusedError, "sold")
    assert '"sold_good_id_fkey"' in error.what
    assert "(good_id)=(" in error.what
    assert "--table" in error.do
    run(fresh_database, "TRUNCATE sold")
    assert_unchanged(shop, fresh_database, Mode.REPLACE, PreflightRefusedError, "sold")


def test_orphans_that_only_this_mix_would_make(shop: Bench, fresh_database: str) -> None:
    # The backup's goods go in place of the present ones, but a sale that came since needs one of those.
    run(fresh_database, "INSERT INTO goods VALUES (99, 'new'); INSERT INTO sold VALUES (999, 99)")
    error = assert_unchanged(shop, fresh_database, Mode.REPLACE, PreflightRefusedError, "goods")
    assert "1 rows of public.sold refer to rows of public.goods that the restore would remove" in error.what
    shop.restore(fresh_database, Mode.UPSERT, "goods")
    shop.restore(fresh_database, Mode.REPLACE)
    assert one(fresh_database, "SELECT count(*) FROM sold") == 100


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT", "NO ACTION", "RESTRICT"])
def test_rows_outside_the_restore_are_never_touched(shop: Bench, fresh_database: str, action: str) -> None:
    run(
        fresh_database,
        f"INSERT INTO goods VALUES (99, 'new'); CREATE TABLE basket (id int, good_id int DEFAULT 1"
        f" REFERENCES goods ON DELETE {action} ON UPDATE {action}); INSERT INTO basket VALUES (1, 99), (2, 5)",
    )
    plan = shop.plan(fresh_database, Mode.REPLACE)
    assert any(
        f"public.basket refers to public.goods (ON DELETE {action})" in remark.message for remark in plan.remarks
    )
    error = assert_unchanged(shop, fresh_database, Mode.REPLACE, PreflightRefusedError)
    assert "1 rows of public.basket" in error.what
    run(fresh_database, "DELETE FROM basket WHERE id = 1; UPDATE goods SET name = 'x' WHERE id = 5")
    shop.restore(fresh_database, Mode.REPLACE)
    assert rows(fresh_database, "SELECT id, good_id FROM basket") == [(2, 5)]
    assert one(fresh_database, "SELECT count(*) FROM goods") == 50


def test_a_referred_value_that_would_change(fresh_database: str, tmp_path: Path) -> None:
    run(fresh_database, "CREATE TABLE t (id int PRIMARY KEY, code text UNIQUE NOT NULL); INSERT INTO t VALUES (1, 'a')")
    bench = back_up(fresh_database, tmp_path)
    run(
        fresh_database,
        "UPDATE t SET code = 'b'; CREATE TABLE uses (code text REFERENCES t (code) ON UPDATE CASCADE);"
        " INSERT INTO uses VALUES ('b')",
    )
    for mode in (Mode.UPSERT, Mode.REPLACE):
        assert_unchanged(bench, fresh_database, mode, PreflightRefusedError)


def test_triggers_keep_still_and_are_as_they_were(shop: Bench, fresh_database: str) -> None:
    run(
        fresh_database,
        """CREATE TABLE noise (n int); CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO noise VALUES (1); RETURN new; END $$;
        CREATE TRIGGER usual AFTER INSERT OR UPDATE OR DELETE ON goods FOR EACH ROW EXECUTE FUNCTION shout();
        CREATE TRIGGER always BEFORE INSERT OR UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION shout();
        CREATE TRIGGER off AFTER UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION shout();
        ALTER TABLE goods ENABLE ALWAYS TRIGGER always; ALTER TABLE goods DISABLE TRIGGER off;
        UPDATE sold SET good_id = 1; DELETE FROM goods WHERE id > 1; UPDATE goods SET name = 'x'; TRUNCATE noise""",
    )
    enabled = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    before = rows(fresh_database, enabled)
    plan = shop.plan(fresh_database, Mode.REPLACE)
    assert any("(always, usual) do not fire" in remark.message for remark in plan.remarks)
    shop.restore(fresh_database, Mode.REPLACE)
    assert one(fresh_database, "SELECT count(*) FROM noise") == 0
    assert rows(fresh_database, enabled) == before
    assert one(fresh_database, "SELECT count(*) FROM goods WHERE name LIKE 'good %'") == 50


def test_a_rule_is_refused(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "CREATE RULE quiet AS ON DELETE TO goods DO INSTEAD NOTHING")
    assert "has rules (quiet)" in refusals(shop.plan(fresh_database, Mode.REPLACE))


def test_what_a_role_may_not_do_is_found_before(shop: Bench, fresh_database: str, clerk: str) -> None:
    role = clerk.split("/")[2].split(":")[0]
    plan = shop.plan(clerk, Mode.REPLACE)
    assert f"Role {role} lacks SELECT, INSERT, UPDATE, DELETE on public.goods" in refusals(plan)
    assert f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.goods TO {role}" in refusals(plan)
    run(fresh_database, f"GRANT SELECT, INSERT, UPDATE, DELETE ON goods, sold TO {role}")
    assert "only the owner of public.goods may" in refusals(shop.plan(clerk, Mode.REPLACE))
    run(fresh_database, "UPDATE sold SET note = 'x'")
    shop.restore(clerk, Mode.REPLACE, "sold")
    assert one(fresh_database, "SELECT count(*) FROM sold WHERE note = 'x'") == 0
    assert "may not create tables in schema public" in refusals(
        shop.plan(clerk, Mode.NEW, "sold", rename={"sold": "s"})
    )
    assert "may not create schema beside" in refusals(shop.plan(clerk, Mode.NEW, "sold", into_schema="beside"))
    run(fresh_database, f"REVOKE TEMPORARY ON DATABASE {fresh_database.rpartition('/')[2]} FROM PUBLIC")
    assert "may not make temporary tables" in refusals(shop.plan(clerk, Mode.REPLACE, "sold"))
    run(fresh_database, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    assert "read-only" in refusals(shop.plan(clerk, Mode.REPLACE, "sold"))


def test_hidden_rows_are_refused(shop: Bench, fresh_database: str, clerk: str) -> None:
    role = clerk.split("/")[2].split(":")[0]
    run(
        fresh_database,
        f"ALTER TABLE sold ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON sold USING (id < 10);"
        f" GRANT ALL ON sold, goods TO {role}",
    )
    plan = shop.plan(clerk, Mode.REPLACE, "sold")
    assert f"Row-level security hides rows of public.sold from role {role}" in refusals(plan)
    run(fresh_database, "UPDATE sold SET note = 'x'")
    shop.restore(fresh_database, Mode.REPLACE, "sold")
    assert one(fresh_database, "SELECT count(*) FROM sold WHERE note = 'x'") == 0


def test_a_lock_that_does_not_come(shop: Bench, fresh_database: str) -> None:
    run(fresh_database, "UPDATE sold SET note = 'x'")
    before = everything(fresh_database)
    with psycopg.connect(fresh_database) as other:
        other.execute("UPDATE sold SET note = 'y' WHERE id = 1")
        with pytest.raises(LockedError, match=rf"public\.sold is in use: process {other.info.backend_pid} "):
            shop.restore(fresh_database, Mode.REPLACE)
        other.rollback()
    assert everything(fresh_database) == before


def test_a_damaged_member_is_refused_before_anything_is_written(shop: Bench, fresh_database: str) -> None:
    key = place_of(shop.attempt).bundle(shop.place.manifest.bundle.name)
    whole = shop.place.store.get(key)
    at = whole.index(b"PAR1") + 60
    shop.place.store.put(key, [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]])
    shop.safety = lambda: pytest.fail("the safety backup comes when the files are known to be whole")
    run(fresh_database, "UPDATE sold SET note = 'x'")
    error = assert_unchanged(shop, fresh_database, Mode.REPLACE, VerificationError)
    assert error.exit_code == 20
    assert "parquet/" in error.what
    shop.place.store.put(key, [whole[:-1]])
    with pytest.raises(VerificationError, match="bytes; the manifest says"):
        shop.plan(fresh_database, Mode.REPLACE)


def test_a_request_that_names_what_is_not_there(shop: Bench, fresh_database: str) -> None:
    with pytest.raises(NotFoundError, match="has no table nothing") as missing:
        shop.plan(fresh_database, Mode.REPLACE, "nothing")
    assert "goods, sold" in missing.value.do
    with pytest.raises(UsageError, match="not among the tables"):
        shop.plan(fresh_database, Mode.NEW, "sold", rename={"goods": "other"})
    plan = shop.plan(fresh_database, Mode.REPLACE, fill={"goods.name": "x", "goods.nothing": "y"})
    assert "public.goods.name can not be filled" in refusals(plan)
    assert "public.goods.nothing can not be filled" in refusals(plan)
    with pytest.raises(TargetError, match="Can not connect"):
        shop.plan(fresh_database.rpartition("/")[0] + "/not_there", Mode.NEW)


def test_excluded_and_masked_columns_keep_what_is_there(fresh_database: str, tmp_path: Path) -> None:
    run(
        fresh_database,
        "CREATE TABLE people (id int PRIMARY KEY, name text, password text, pin text DEFAULT '0000', nick text UNIQUE);"
        " INSERT INTO people SELECT n, 'p' || n, 'pw' || n, n, 'n' || n FROM generate_series(1, 9) n",
    )
    specs = {"people": {"exclude": {"password": "a secret"}, "mask": ("pin",)}}
    bench = back_up(fresh_database, tmp_path, specs)
    run(fresh_database, "UPDATE people SET name = 'x', password = 'newer'; DELETE FROM people WHERE id = 9")
    plan = bench.plan(fresh_database, Mode.REPLACE)
    assert plan.tables[0].kept["password"].startswith("excluded from the backup (a secret)")
    assert plan.tables[0].kept["pin"].startswith("masked in the backup")
    assert "pin" in plan.tables[0].ignored
    bench.restore(fresh_database, Mode.REPLACE)
    found = "SELECT name, password, pin FROM people WHERE id IN (8, 9) ORDER BY id"
    assert rows(fresh_database, found) == [("p8", "newer", "8"), ("p9", None, "0000")]


def test_rows_are_not_written_to_another_server(fresh_database: str, empty_database: str, tmp_path: Path) -> None:
    run(
        fresh_database,
        "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "INSERT INTO p VALUES (1)",
    )
    before = back_up(fresh_database, tmp_path / "before")
    run(
        fresh_database,
        "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER s FOREIGN DATA WRAPPER none;"
        "CREATE FOREIGN TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) SERVER s",
    )
    told = refusals(before.plan(fresh_database, Mode.REPLACE))
    assert (
        "public.p has partitions that are foreign tables (public.p2): rows would be written to other servers." in told
    )
    assert "--rename" in told

    made = (
        DumpEntry("p2", "FOREIGN TABLE", "public", "CREATE FOREIGN TABLE public.p2 (id integer) SERVER s;"),
        DumpEntry("p2", "TABLE ATTACH", "public", "ALTER TABLE ONLY public.p ATTACH PARTITION public.p2 DEFAULT;"),
    )
    wish, target = before.request(Mode.NEW), PostgresTarget(empty_database)
    new = plan_restore(wish, target, before.ports, amend=lambda dump: Dump((*dump.entries, *made)) if dump else None)
    assert "public.p has partitions that are foreign tables (public.p2)" in refusals(new)
    run(fresh_database, "ALTER TABLE p DETACH PARTITION p2; ALTER FOREIGN TABLE p2 RENAME TO gone")
    assert not before.plan(fresh_database, Mode.REPLACE).refused
