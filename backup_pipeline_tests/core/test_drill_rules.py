"""What a drill decides: which row to insert, what fills a column, what differing files mean, what must be there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.core.drill import DrillFinding, DrillReport, Fault, How, Injection, Stages, noticed, unnoticed
from backup_pipeline.core.drill.compare import Pair, judged, with_other_program
from backup_pipeline.core.drill.definitions import alone, constant, nullable, roles
from backup_pipeline.core.drill.objects import DatabaseObjects, NumberedTable, UniqueIndex, inspected, planned_insert
from backup_pipeline.core.manifest import ColumnEntry, FileEntry, TableEntry
from backup_pipeline.core.restore import SchemaSteps, TargetColumn
from backup_pipeline.core.restore.dump import Dump, DumpEntry, split_dump

SNAPSHOT = {"id": "1", "taken_at": "2026-11-20T18:00:00Z", "lsn": "0/1", "server_version": "18", "database": "d"}
REPORT = DrillReport("20261120T180000Z-full-1f3a9c2e", "shop", None, "level 3 (references)", 0)


def numbered(*unique: UniqueIndex, empty: bool = False) -> NumberedTable:
    columns = (
        TargetColumn("id", "integer", nullable=False, has_default=True),
        TargetColumn("code", "text", nullable=False),
        TargetColumn("note", "text"),
        TargetColumn("made", "uuid", nullable=False, has_default=True),
        TargetColumn("sum", "integer", generated=True),
    )
    return NumberedTable(("public", "t"), columns, ("id",), unique, empty)


PRIMARY = UniqueIndex("t_pkey", ("id",))


def test_a_row_is_copied_but_for_what_numbers_and_computes_itself() -> None:
    wanted = planned_insert(numbered(PRIMARY))
    assert (wanted.copied, wanted.nulls, wanted.why_not) == (("code", "note", "made"), (), "")


@pytest.mark.parametrize(
    ("index", "copied", "nulls", "why"),
    [
        (UniqueIndex("u", ("made",)), ("code", "note"), (), ""),
        (UniqueIndex("u", ("code", "made")), ("code", "note"), (), ""),
        (UniqueIndex("u", ("note",)), ("code", "made"), ("note",), ""),
        (UniqueIndex("u", ("code", "id")), ("code", "note", "made"), (), ""),
        (UniqueIndex("u", ("code",)), (), (), "code must be unique (u), and no second value of it is known"),
        (UniqueIndex("u", ("note",), nulls_distinct=False), (), (), "note must be unique"),
        (UniqueIndex("u", ("",)), (), (), "an expression must be unique"),
    ],
)
def test_unique_columns_get_another_value_or_nothing_is_tried(
    index: UniqueIndex, copied: tuple[str, ...], nulls: tuple[str, ...], why: str
) -> None:
    wanted = planned_insert(numbered(PRIMARY, index))
    assert (wanted.copied, wanted.nulls) == (copied, nulls)
    assert wanted.why_not.startswith(why)
    assert bool(wanted.why_not) == bool(why)


def test_an_empty_table_is_tried_only_when_a_row_makes_itself() -> None:
    assert planned_insert(numbered(PRIMARY, empty=True)).why_not == "the table is empty, and code needs a value"
    plain = replace(numbered(PRIMARY, empty=True), columns=(TargetColumn("id", "int", has_default=True),))
    assert planned_insert(plain).why_not == ""


@pytest.mark.parametrize(
    ("pg_type", "value"),
    [("text", "-"), ("character varying(3)", "-"), ("numeric(12,2)", "0"), ("text[]", "{}"), ("public.mood", None),
     ("timestamp(3) with time zone", "2000-01-01 00:00:00+00")],
)  # fmt: skip
def test_a_value_for_a_type(pg_type: str, value: str | None) -> None:
    assert constant(pg_type) == value


def dump(*statements: tuple[str, str]) -> Dump:
    return Dump(tuple(DumpEntry("t", kind, "public", sql) for kind, sql in statements))


TABLE = 'CREATE TABLE public.t (\n    a text NOT NULL,\n    "B" text CONSTRAINT given NOT NULL,\n    c text%s\n);'


@pytest.mark.parametrize(
    ("inside", "more", "is_alone"),
    [
        ("", (), True),
        (",\n    CONSTRAINT x CHECK ((length(a) > 3))", (), False),
        (" GENERATED ALWAYS AS (upper(a)) STORED", (), False),
        ("", (("CONSTRAINT", "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT u UNIQUE (c, a);"),), False),
        ("", (("CONSTRAINT", "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT u UNIQUE (c);"),), True),
        ("", (("INDEX", "CREATE UNIQUE INDEX u ON public.t USING btree (lower(a));"),), False),
        ("", (("FK CONSTRAINT", "ALTER TABLE ONLY public.t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.o(a);"),),
         False),
        ("", (("CONSTRAINT", "ALTER TABLE ONLY public.other ADD CONSTRAINT u UNIQUE (a);"),), True),
    ],
)  # fmt: skip
def test_whether_one_value_does_for_every_row(inside: str, more: tuple[tuple[str, str], ...], is_alone: bool) -> None:
    assert alone("a", ("public", "t"), dump(("TABLE", TABLE % inside), *more)) is is_alone


def test_a_column_that_may_be_null_then() -> None:
    sql = TABLE % ""
    bare = sql.replace(" ", "")
    assert nullable(sql, "a").replace(" ", "") == bare.replace("atextNOTNULL", "atext")
    assert nullable(sql, "B").replace(" ", "") == bare.replace("CONSTRAINTgivenNOTNULL", "")
    assert nullable(sql, "c") == sql


def test_the_roles_that_policies_name() -> None:
    policies = dump(
        ("POLICY", "CREATE POLICY p ON public.t FOR SELECT TO app, \"Odd one\" USING ((owner = 'TO nobody'::text));"),
        ("POLICY", "CREATE POLICY q ON public.t USING (true);"),
        ("POLICY", "CREATE POLICY q ON public.t TO CURRENT_USER WITH CHECK (true);"),
    )
    assert roles(policies) == {"app", "Odd one"}


COLUMNS = (
    ColumnEntry(name="id", pg_type="integer", arrow_type="int32", nullable=False),
    ColumnEntry(name="name", pg_type="text", arrow_type="string", nullable=True),
)


def entry(**more: object) -> TableEntry:
    files = tuple(
        FileEntry(name=f"{kind}-0", format=kind, rows=3, bytes=9, sha256="ab", crc32=1) for kind in ("parquet", "csv")
    )
    values: dict[str, object] = {
        "name": "t", "relation": "public.t", "sheet": "T", "key": ("id",), "order": "key", "row_count": 3,
        "snapshot": SNAPSHOT, "exported_by": "x", "columns": COLUMNS, "sheet_columns": ("id", "name"), "files": files,
        "seconds": 1.0,
    }  # fmt: skip
    return TableEntry.model_validate({**values, **more})


PAIR = Pair(entry(), entry(), ("id", "name"))


def test_the_same_bytes_need_no_word() -> None:
    done = judged(PAIR, How.BYTES, How.BYTES)
    assert (done.findings, done.remarks) == ((), ())


def test_equal_rows_in_other_bytes_are_a_finding_only_where_nothing_explains_it() -> None:
    assert "other bytes, though they are read by key" in str(judged(PAIR, How.FINGERPRINT, How.BYTES).findings[0])
    explained = {
        "place on disk": replace(PAIR, again=entry(order="ctid")),
        "in one pass": replace(PAIR, before=entry(order="scan")),
        "sorts by the rules": replace(PAIR, before=entry(key=("name",))),
        "made from the manifest": replace(PAIR, redefined="its table is made from the manifest"),
        "version 0.0.1": with_other_program(PAIR, ("0.0.1", "1.0"), ("0.2.0", "1.1")),
        "is masked": replace(PAIR, before=entry(columns=(COLUMNS[0], COLUMNS[1].model_copy(update={"masked": True})))),
    }
    for why, pair in explained.items():
        done = judged(pair, How.FINGERPRINT, How.BYTES)
        assert done.findings == ()
        assert why in "\n".join(map(str, done.remarks))
    assert with_other_program(PAIR, ("1", "1.1"), ("1", "1.1")) == PAIR


def test_rows_columns_and_types_that_did_not_come_back() -> None:
    fewer = judged(replace(PAIR, again=entry(row_count=2)), How.DIFFERENT, How.DIFFERENT)
    assert [str(finding) for finding in fewer.findings] == ["t: 3 rows are in the backup, 2 came back."]
    assert "backup-pipeline restore" in fewer.findings[0].do
    other = judged(PAIR, How.DIFFERENT, How.BYTES)
    assert [str(finding) for finding in other.findings] == [
        "t: the rows of its Parquet files are not those of the backup."
    ]
    gone = judged(replace(PAIR, again=entry(columns=COLUMNS[:1])), How.DIFFERENT, How.BYTES)
    assert "column name did not come back" in str(gone.findings[0])
    text = (COLUMNS[0].model_copy(update={"arrow_type": "string"}), COLUMNS[1])
    assert "was int32 and came back as string" in str(
        judged(replace(PAIR, again=entry(columns=text)), How.BYTES, How.BYTES)
    )


def test_a_view_that_was_computed_anew_is_never_a_finding() -> None:
    done = judged(replace(PAIR, again=entry(row_count=2), restored=False), How.DIFFERENT, How.DIFFERENT)
    assert done.findings == ()
    assert "computed anew" in str(done.remarks[0])


DUMP = """--
-- Name: t; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.t (
    id integer NOT NULL,
    CONSTRAINT positive CHECK ((id > 0))
);


--
-- Name: t_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.t_id_seq
    START WITH 1
);


--
-- Name: t t_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_pkey PRIMARY KEY (id);


--
-- Name: t_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX t_at ON public.t USING btree (id);
"""
MADE = DatabaseObjects(
    relations=frozenset({("public", "t"), ("public", "t_id_seq")}),
    indexes={("public", "t_at"): True, ("public", "t_pkey"): True},
    constraints={("public", "t", "t_pkey"): True, ("public", "t", "positive"): True},
)


def steps(split: Dump) -> SchemaSteps:
    return SchemaSteps(before=tuple(entry.sql for entry in split.entries))


def test_every_object_is_counted_by_its_kind() -> None:
    split = split_dump(DUMP)
    done = inspected(split, steps(split), MADE)
    assert done.findings == ()
    counted = {one.kind: (one.wanted, one.valid) for one in done.counts}
    assert counted == {"tables": (1, 1), "keys and other constraints": (2, 2), "sequences": (1, 1), "indexes": (1, 1)}
    assert inspected(split, SchemaSteps(), MADE).counts == ()


@pytest.mark.parametrize(
    ("made", "about", "what"),
    [
        (replace(MADE, relations=frozenset({("public", "t")})), "public.t_id_seq", "not there"),
        (replace(MADE, indexes={**MADE.indexes, ("public", "t_at"): False}), "public.t_at", "not valid"),
        (replace(MADE, indexes={**MADE.indexes, ("public", "t_pkey"): False}), "public.t_pkey", "not valid"),
        (replace(MADE, constraints={("public", "t", "t_pkey"): True}), "public.t.positive", "not there"),
        (replace(MADE, constraints={**MADE.constraints, ("public", "t", "positive"): False}), "public.t.positive",
         "not valid"),
    ],
)  # fmt: skip
def test_what_is_missing_or_not_valid_is_a_finding(made: DatabaseObjects, about: str, what: str) -> None:
    split = split_dump(DUMP)
    [finding] = inspected(split, steps(split), made).findings
    assert finding.about == about
    assert what in finding.message


def test_a_fault_is_found_only_by_a_finding_about_it() -> None:
    injection = Injection(Fault.DROP_ROW, "One row of sold was deleted.", "sold")
    other = replace(REPORT, findings=(DrillFinding("goods", "is not what it was."),))
    right = replace(
        REPORT, findings=(DrillFinding("goods", "is not what it was."), DrillFinding("sold", "lacks a row."))
    )
    assert unnoticed(REPORT, injection) is not None
    assert unnoticed(other, injection) is not None
    assert unnoticed(right, injection) is None
    assert "sold: lacks a row." in noticed(right, injection).what


def test_the_time_of_a_restore_is_what_was_measured() -> None:
    assert REPORT.predicted_restore_seconds is None
    timed = replace(REPORT, bytes=100, bytes_to_fetch=50, stages=Stages(fetch=4, restore=3))
    assert timed.predicted_restore_seconds == 5.0


def test_the_error_names_the_first_finding_and_counts_the_others() -> None:
    bad = replace(REPORT, findings=(DrillFinding("a", "lost.", "Look."), DrillFinding("b", "lost.")))
    error = bad.error()
    assert error.exit_code == 20
    assert error.what == f"The drill of backup {REPORT.backup_id} failed: a: lost. (1 more finding)"
    assert error.do == "Look."
    assert bad.as_json()["passed"] is False
