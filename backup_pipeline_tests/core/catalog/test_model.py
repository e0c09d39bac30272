"""Tests of catalogs and their reader: every field, and every mistake by file, line and field."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from pydantic import BaseModel

from backup_pipeline.catalogs import _WANTS, load_catalog, load_catalogs
from backup_pipeline.core.catalog.model import Anomalies, Catalog, Excluded, Shrinkage, TableSpec
from backup_pipeline.core.catalog.rules import AnomalyKind
from backup_pipeline.core.errors import CatalogError

HEAD = "catalog: shop\ntimezone: Asia/Dhaka\n"


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "shop.yaml"


def load(path: Path, text: str) -> Catalog:
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_catalog(path)


def mistakes(path: Path, text: str) -> list[str]:
    """What is wrong, a line each, without the path."""
    with pytest.raises(CatalogError) as refused:
        load(path, text)
    assert refused.value.do
    lines = refused.value.what.splitlines()
    assert all(line.startswith(f"{path}:") for line in lines), lines
    return [line.removeprefix(f"{path}:") for line in lines]


def test_the_shortest_catalog_has_every_default(write: Path) -> None:
    shop = load(write, HEAD + "tables:\n  customers:\n  payments:\n")
    assert list(shop.tables) == ["customers", "payments"]
    assert (shop.schema_, shop.schedule, shop.start_date, shop.grace_minutes) == (
        "public",
        "0 0 * * *",
        None,
        120,
    )
    assert shop.relation_of("customers") == ("public", "customers")
    assert (shop.sheet_of("customers"), shop.shrinkage_of("customers")) == (
        "customers",
        Shrinkage(ratio=0.5, floor=100),
    )


def test_words_of_yaml_mean_themselves(write: Path) -> None:
    text = (
        HEAD + "start_date: 2026-02-01\nschedule: null\ntables:\n  no:\n    columns: {No: id, Yes: name, Off: phone}\n"
    )
    shop = load(write, text)
    assert shop.start_date == "2026-02-01"
    assert shop.schedule is None
    assert list(shop.tables["no"].columns) == ["No", "Yes", "Off"]


def test_a_table_may_judge_some_anomalies_otherwise(write: Path) -> None:
    own = 'anomalies: {floor_rows: 7, allow: {rows: "a queue"}}'
    shop = load(write, HEAD + f"anomalies: {{ratio: 0.2, trailing: 5}}\ntables:\n  jobs: {{{own}}}\n  other:\n")
    jobs = Anomalies(ratio=0.2, trailing=5, floor_rows=7, allow={AnomalyKind.ROWS: "a queue"})
    assert shop.anomalies_of("jobs") == jobs
    assert shop.anomalies_of("other") == shop.anomalies_of("unknown") == Anomalies(ratio=0.2, trailing=5)


def test_a_table_may_have_its_own_shrinkage_and_relation(write: Path) -> None:
    text = (
        HEAD
        + "schema: app\ntables:\n  staff: {relation: hr.staff_safe, sheet: Staff, shrinkage: {ratio: 1, floor: 0}}\n"
    )
    shop = load(write, text)
    assert shop.relation_of("staff") == ("hr", "staff_safe")
    assert shop.sheet_of("staff") == "Staff"
    assert shop.shrinkage_of("staff") == Shrinkage(ratio=1, floor=0)
    assert shop.qualify("x") == ("app", "x")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("catalog: Shop", "catalog: 'Shop' is not a catalog's name: up to 40 of a-z, 0-9 and _"),
        ("catalog: 1shop", "catalog: '1shop' is not a catalog's name"),
        ("timezone: Asia/Dacca2", "timezone: 'Asia/Dacca2' is not a timezone. Use an IANA name such as Asia/Dhaka"),
        ("timezone: ''", "timezone: '' is not a timezone"),
        ("timezone: ../etc", "timezone: '../etc' is not a timezone"),
        (
            "schedule: '@daily'",
            "schedule: '@daily' is not a cron line of five fields. Daily at midnight is `0 0 * * *`",
        ),
        ("schedule: 0 24 * * *", "schedule: '0 24 * * *' is not a cron line: the hour '24' is not within 0-23"),
        ("schedule: 60 0 * * *", "the minute '60' is not within 0-59"),
        ("schedule: 0 0 0 * *", "the day '0' is not within 1-31"),
        ("schedule: 0 0 * * noday", "the weekday 'noday' is not within 0-7"),
        ("schedule: 0 0 * * */0", "the weekday '*/0'"),
        ("schedule: 0 5-1 * * *", "the hour '5-1'"),
        ("start_date: 2026-13-01", "start_date: '2026-13-01' is not a date. Write it as 2026-01-31"),
        ("start_date: 20260101", "start_date: 20260101 is read as a number here: put it in quotes"),
        ("start_date: 1/2/2026", "start_date: '1/2/2026' is not a date"),
        ("bundle_name: a/b.zip", "bundle_name: 'a/b.zip' is not a file name"),
        ("bundle_name: b_%D.zip", "filled in it is 'b_11/21/26.zip', and '/' may not stand in one"),
        ("bundle_name: b_%T.zip", "':' may not stand in one"),
        ("bundle_name: manifest.json", "'manifest.json' is not a file name that ends in .zip"),
        ("bundle_name: .zip", "'.zip' is not a file name that ends in .zip"),
        ("grace_minutes: -1", "grace_minutes: wants a whole number from 0 to 1440 (given: -1)."),
        ("grace_minutes: 1441", "grace_minutes: wants a whole number from 0 to 1440 (given: 1441)."),
        ("grace_minutes: soon", "grace_minutes: wants a whole number from 0 to 1440 (given: 'soon')."),
        ("shrinkage: {ratio: 1.1}", "shrinkage.ratio: wants a number from 0 to 1 (given: 1.1)."),
        ("shrinkage: {ratio: .nan}", "shrinkage.ratio: wants a number from 0 to 1 (given: nan)."),
        ("shrinkage: {floor: -1}", "shrinkage.floor: wants a whole number, 0 or more (given: -1)."),
        ("shrinkage: {rate: 1}", "shrinkage.rate: no such field. Did you mean `ratio`? Allowed: ratio, floor."),
        ("owners: [data]", "owners.0: 'data' is not an owner: an e-mail address, or `team:` and a name"),
        ("owners: ['team:']", "owners.0: 'team:' is not an owner"),
        ("owners: team", "owners: wants a list of e-mail addresses and teams, such as [team:data] (given: 'team')."),
        ("owners: [{team: data}]", "owners.0: wants an e-mail address, or `team:` and a name (given: a mapping)."),
        ("timezone:", "timezone: is empty; wants an IANA name such as Asia/Dhaka."),
        ("catalog:", "catalog: is empty; wants a name such as shop: up to 40 of a-z, 0-9 and _, a letter first."),
        ("schema: ''", "schema: is empty; wants the name of a schema, such as public."),
        ("excluded: [{table: x}]", "excluded.0.reason: is missing; wants a reason of at least 3 letters."),
        (
            "excluded: [{table: x, reason: no}]",
            "excluded.0.reason: wants a reason of at least 3 letters (given: 'no').",
        ),
        ("excluded: [{tabel: x, reason: why}]", "excluded.0.tabel: no such field. Did you mean `table`?"),
        ("excluded: tmp", "excluded: wants a list of entries such as {table: tmp_imports, reason: scratch}"),
        ("excluded: [tmp]", "excluded.0: wants an entry such as {table: tmp_imports, reason: scratch} (given: 'tmp')."),
        ("anomalies: {ratio: 1}", "anomalies.ratio: wants a number between 0 and 1 (given: 1)."),
        ("anomalies: {allow: {rows: no}}", "anomalies.allow.rows: wants a reason of at least 3 letters (given: 'no')."),
        ("anomalies: {allow: {rowz: usual here}}", "anomalies.allow.rowz: wants 'rows', 'bytes', 'emptied'"),
        ("shrinkage: 5", "shrinkage: wants a mapping such as {ratio: 0.5, floor: 100} (given: 5)."),
        ("title: true", "title: True is read as true or false here: put it in quotes; wants text, such as The shop."),
        ("1: x", "1: no such field. Allowed: catalog, title"),
        ("title: 2026", "title: 2026 is read as a number here: put it in quotes; wants text, such as The shop."),
        (
            "grace_minuts: 3",
            "grace_minuts: no such field. Did you mean `grace_minutes`? Allowed: catalog, title, timezone",
        ),
    ],
)
def test_a_mistake_in_a_field_is_named_by_line_and_field(write: Path, line: str, said: str) -> None:
    name = line.partition(":")[0]
    kept = [given for given in HEAD.splitlines() if not given.startswith(f"{name}:")]
    text = "\n".join([*kept, "# a remark", line, "tables: {customers: }", ""])
    found = [m for m in mistakes(write, text) if said in m]
    assert found, mistakes(write, text)
    assert found[0].startswith(f"{len(kept) + 2}: ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("relation: a.b.c", "relation: 'a.b.c' is not a relation"),
        ("covers: [a.b.c]", "covers.0: 'a.b.c' is not a relation"),
        ("key: id", "key: wants a list of columns, such as [id] (given: 'id')."),
        ("references: {area_id: id}", "references.area_id: 'id' is not a reference"),
        ("sheet: ''", "sheet: is empty; wants a name for the sheet, such as Customers."),
        ("sheet_file: list.txt", "sheet_file: 'list.txt' is not a file name that ends in .csv"),
        ("columns: {Area: area id}", "columns.Area: 'area id' is not a sheet source. Allowed: `column`"),
        ("columns: [name]", "columns: wants a mapping `title: source`, such as {Name: name} (given: a list)."),
        ("exclude: {phone: }", "exclude.phone: is empty; wants a reason of at least 3 letters."),
        ("exclude: [phone]", "exclude: wants a mapping `column: reason` (given: a list)."),
        ("exclude: {phone: x}", "exclude.phone: wants a reason of at least 3 letters (given: 'x')."),
        (
            "exclude: {7: seven}",
            "exclude.7: 7 is read as a number here: put it in quotes; wants text before the colon.",
        ),
        ("exclude: {~: nothing}", "exclude.None: is empty; wants text before the colon."),
        ("mask: password", "mask: wants a list of columns, such as [password] (given: 'password')."),
        ("mask: {phone: x}", "mask: wants a list of columns, such as [password] (given: a mapping)."),
        ("mask: [phone, [pin]]", "mask.1: wants the name of a column (given: a list)."),
        ("mask: [phone, 7]", "mask.1: 7 is read as a number here: put it in quotes; wants the name of a column."),
        ("allow: {token_no: ''}", "allow.token_no: is empty; wants a reason of at least 3 letters."),
        ("shrinkage: {floor: few}", "shrinkage.floor: wants a whole number, 0 or more (given: 'few')."),
        ("shrinkage: {flor: 1}", "shrinkage.flor: no such field. Did you mean `floor`?"),
        ("colums: {a: b}", "colums: no such field. Did you mean `columns`? Allowed: relation, kind, covers"),
    ],
)
@pytest.mark.parametrize("table", ["customers", "shrinkage"])
def test_a_mistake_in_a_table_is_named_by_line_table_and_field(write: Path, table: str, line: str, said: str) -> None:
    (found,) = mistakes(write, HEAD + f"tables:\n  {table}:\n    description: who\n    {line}\n")
    assert found.startswith(f"6: tables.{table}.{said}")


@pytest.mark.parametrize("name", ["1st", "two words", "a.b", "a/b", "x" * 64, "নাম"])
def test_a_table_needs_a_plain_name(write: Path, name: str) -> None:
    (found,) = mistakes(write, HEAD + f"tables:\n  {name}:\n")
    assert found.startswith(f"4: tables.{name}: ")
    assert "is not a table's name here: up to 63 of A-Z" in found


def test_no_table_is_named_bundle(write: Path) -> None:
    (found,) = mistakes(write, HEAD + "tables:\n  bundle:\n")
    assert "no table may be named 'bundle'" in found


def test_missing_fields_are_all_named(write: Path) -> None:
    assert mistakes(write, "title: x\n") == [
        "1: catalog: is missing; wants a name such as shop: up to 40 of a-z, 0-9 and _, a letter first.",
        "1: timezone: is missing; wants an IANA name such as Asia/Dhaka.",
        "1: tables: is missing; wants a mapping of at least one table, such as {customers: }.",
    ]


def test_a_catalog_without_tables_is_none(write: Path) -> None:
    wanted = "wants a mapping of at least one table, such as {customers: }."
    assert mistakes(write, HEAD + "tables: {}\n") == [f"3: tables: is empty; {wanted}"]
    assert mistakes(write, HEAD + "tables: [customers]\n") == [
        f"3: tables: {wanted.removesuffix('.')} (given: a list)."
    ]


def test_a_table_is_a_mapping_or_nothing(write: Path) -> None:
    (found,) = mistakes(write, HEAD + "tables:\n  key: 5\n")
    assert found == "4: tables.key: wants a mapping of the table's fields, or nothing at all (given: 5)."


@pytest.mark.parametrize("model", [Catalog, TableSpec, Excluded, Shrinkage, Anomalies])
def test_for_every_field_it_is_known_what_it_wants(model: type[BaseModel]) -> None:
    assert list(_WANTS[model]) == [field.alias or name for name, field in model.model_fields.items()]


def test_every_mistake_is_shown_at_once(write: Path) -> None:
    assert len(mistakes(write, HEAD + "shedule: x\ngrace_minutes: x\ntables:\n  a: {x: 1}\n  b: {y: 1}\n")) == 4


# Secrets and sheets


def test_a_secret_on_a_sheet_must_be_masked_or_allowed(write: Path) -> None:
    (found,) = mistakes(write, HEAD + "tables:\n  routers:\n    columns: {Login: api_password}\n")
    assert found.startswith("5: tables.routers.columns.Login: it shows 'api_password', which looks like a secret")
    assert "add it to `mask`, or add it to `allow` with the reason" in found


@pytest.mark.parametrize("way", ["mask: [api_password]", "allow: {api_password: only a label}"])
def test_a_secret_that_is_masked_or_allowed_may_be_on_a_sheet(write: Path, way: str) -> None:
    assert load(write, HEAD + f"tables:\n  routers:\n    columns: {{Login: api_password}}\n    {way}\n")


@pytest.mark.parametrize("source", ["router_id.api_password", "routers[owner_id].api_password"])
def test_a_secret_of_another_table_is_never_on_a_sheet(write: Path, source: str) -> None:
    text = f"tables:\n  customers:\n    columns: {{Login: '{source}'}}\n    mask: [api_password]\n"
    (found,) = mistakes(write, HEAD + text)
    assert found.endswith("which looks like a secret. Leave it off the sheet.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Log", "Log"),
        ("Log", "LOG"),
        ("A/B", "A_B"),  # the same file
        ("Log", "Log."),
    ],
)
def test_two_tables_do_not_share_a_sheet(write: Path, first: str, second: str) -> None:
    (found,) = mistakes(write, HEAD + f"tables:\n  one: {{sheet: '{first}'}}\n  two: {{sheet: '{second}'}}\n")
    assert found.startswith(f"5: tables.two.sheet: tables 'one' and 'two' have the same sheet '{second}'")


def test_the_field_that_gives_the_second_sheet_its_name_is_the_one_reported(write: Path) -> None:
    text = "tables:\n  one: {sheet: Log}\n  two:\n    description: the second\n    sheet_file: log.csv\n"
    (found,) = mistakes(write, HEAD + text)
    assert found.startswith("7: tables.two.sheet_file: tables 'one' and 'two' have the same sheet")


# Contradictions


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("exclude: {phone: private}, mask: [name, phone]", "mask.1: 'phone' stands under `exclude` too"),
        ("exclude: {phone: private}, allow: {phone: a label}", "allow.phone: 'phone' stands under `exclude` too"),
        ("mask: [phone], allow: {phone: a label}", "allow.phone: 'phone' stands under `mask` too"),
        ("key: [id, phone], mask: [phone]", "key.1: 'phone' is part of the key, but `mask` keeps its values out"),
        ("key: [phone], exclude: {phone: private}", "key.0: 'phone' is part of the key, but `exclude` keeps"),
    ],
)
def test_a_column_is_decided_about_once(write: Path, fields: str, said: str) -> None:
    (found,) = mistakes(write, HEAD + f"tables:\n  one: {{{fields}}}\n")
    assert found.startswith(f"4: tables.one.{said}")


def test_a_key_may_only_look_like_a_secret(write: Path) -> None:
    shop = load(write, HEAD + "tables:\n  one: {key: [token_no], allow: {token_no: a label}}\n")
    assert shop.tables["one"].key == ("token_no",)


@pytest.mark.parametrize(
    ("spec", "entry"),
    [("", "one"), ("", "public.one"), ("{relation: crm.people}", "crm.people"), ("{relation: ones}", "ones")],
)
def test_a_table_is_listed_or_excluded(write: Path, spec: str, entry: str) -> None:
    text = f"tables:\n  one: {spec}\nexcluded:\n  - {{table: tmp, reason: scratch}}\n"
    (found,) = mistakes(write, HEAD + text + f"  - {{table: {entry}, reason: not ours}}\n")
    assert found.startswith(f"7: excluded.1.table: '{entry}' is what table 'one' reads, so it is both listed and excl")


@pytest.mark.parametrize("entry", ["'*'", "'on*'", "crm.one", "two"])
def test_a_pattern_may_take_in_a_listed_table(write: Path, entry: str) -> None:
    assert load(write, HEAD + f"tables:\n  one:\nexcluded: [{{table: {entry}, reason: not ours}}]\n")


def test_two_tables_do_not_share_a_sheets_file(write: Path) -> None:
    (found,) = mistakes(write, HEAD + "tables:\n  one: {sheet: Log}\n  two: {sheet_file: log.csv}\n")
    assert "tables 'one' and 'two' have the same sheet" in found


def test_a_sheet_is_not_named_as_the_second_part_of_another(write: Path) -> None:
    (found,) = mistakes(write, HEAD + "tables:\n  one: {sheet: Log (2)}\n  two: {sheet: Log}\n")
    assert "the sheet of table 'one' has the name of a further part of the sheet of 'two'" in found
    assert load(write, HEAD + "tables:\n  one: {sheet: Log (1)}\n  two: {sheet: Log (2)}\n")


# Files


def test_a_repeated_key_is_found_with_both_lines(write: Path) -> None:
    (found,) = mistakes(write, HEAD + "tables:\n  customers:\n  payments:\n  customers:\n")
    assert found == "6: 'customers' stands twice (first on line 4)."


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just text\n", "12\n"])
def test_what_is_no_mapping_is_no_catalog(write: Path, text: str) -> None:
    assert mistakes(write, text) == ["1: a catalog is a mapping that starts with `catalog:`."]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("catalog: shop\ntitle: a: b\n", 2),
        ("catalog: [shop\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: !!python/none x\n", 1),
    ],
)
def test_what_is_not_yaml_is_shown_by_line(write: Path, text: str, line: int) -> None:
    assert mistakes(write, text)[0].startswith(f"{line}: not YAML: ")


@pytest.mark.parametrize("text", ["a: &x {b: *x}\n", "[" * 5000])
def test_a_file_without_end_is_refused(write: Path, text: str) -> None:
    write.write_text(text)
    with pytest.raises(CatalogError, match="contains itself, or it is nested too deep"):
        load_catalog(write)


def test_an_unreadable_file_is_a_catalog_error(write: Path) -> None:
    with pytest.raises(CatalogError, match=rf"^There is no file {write}\.\n"):
        load_catalog(write)
    with pytest.raises(CatalogError, match=r"can not be read: Is a directory\.\n"):
        load_catalog(write.parent)
    write.write_bytes(b"catalog: \xff\n")
    with pytest.raises(CatalogError, match=r"can not be read: it is not UTF-8\.\n"):
        load_catalog(write)


def test_a_folder_without_catalogs_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no catalog") as refused:
        load_catalogs(tmp_path)
    assert "catalog init" in refused.value.do


def test_two_files_do_not_share_a_name(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(HEAD + "tables: {customers: }\n")
    with pytest.raises(CatalogError, match=r"b\.yaml and .*a\.yaml are both named 'shop'"):
        load_catalogs(tmp_path)


@pytest.mark.parametrize("line", ["0 0 * * *", "*/15 8-18 1,15 jan-mar MON-fri", "5 4 * * 7", "0 0-6/2 * * sun"])
def test_usual_cron_lines_are_taken(write: Path, line: str) -> None:
    assert load(write, HEAD + f"schedule: '{line}'\ntables: {{customers: }}\n").schedule == line
