"""The ISP demo drilled: its safe views, its hidden columns, and a role that may not read what is behind them."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.catalogs import load_catalog
from backup_pipeline.core.drill import How
from backup_pipeline.demo import create_isp
from backup_pipeline.settings import BUILT_IN_CATALOGS
from backup_pipeline_tests.drill.rehearsing import backed_up, said, table

ISP = load_catalog(BUILT_IN_CATALOGS / "isp.yaml")
EQUAL = {How.BYTES, How.FINGERPRINT}


def test_a_backup_of_an_owner_comes_back_and_earns_level_4(fresh_database: str, tmp_path: Path) -> None:
    create_isp(fresh_database, scale=0.005)
    isp = backed_up(fresh_database, tmp_path, ISP)
    report = isp.drill()
    assert (report.findings, report.passed) == ((), True)
    assert {one.name for one in report.tables} == set(ISP.tables)
    assert all({one.parquet, one.sheet} <= EQUAL and one.rows == one.rows_again for one in report.tables)
    assert report.rows == isp.place.manifest.totals.rows
    assert "employees.nid is not in the backup and may not be NULL: rows get '-'" in said(report)
    assert "employees: not compared" not in said(report)  # the view does not show what it hides
    assert isp.level() == (4, True)
    assert isp.alerter.alerts == []
    assert isp.left() == []
    [event] = isp.audits()
    assert (str(event.actor), event.detail["passed"], event.detail["rows"]) == ("tester", True, report.rows)
    counts = {one.kind: (one.wanted, one.valid) for one in report.objects}
    assert counts["foreign keys"] == (40, 40)
    assert counts["tables"] == (27, 27)
    assert all(wanted == valid for wanted, valid in counts.values())
    assert report.stages.restore > 0
    assert (report.predicted_restore_seconds or 0) >= round(report.stages.restore, 1)


def test_a_backup_of_the_backup_role_is_made_whole_from_its_manifest(fresh_database: str, tmp_path: Path) -> None:
    create_isp(fresh_database, scale=0.005, backup_password="only-a-test")
    role = f"postgresql://isp_backup:only-a-test@{fresh_database.rpartition('@')[2]}"
    isp = backed_up(role, tmp_path, ISP)
    report = isp.drill()
    assert report.findings == ()
    assert isp.level() == (4, True)
    assert "employees: public.employees is made from the manifest: the backup role could not read it" in said(report)
    assert "public.sessions is not made: the backup role could not read it" in said(report)
    assert table(report, "employees").sheet in EQUAL
    assert table(report, "payments").sheet in EQUAL  # which looks up the names of employees
    numbered = {trial.table: trial for trial in report.inserts}
    assert numbered["public.call_records"].not_tried == ""
    assert numbered["public.call_records"].drawn != ()


def test_one_table_alone_compares_what_it_can_make_again(fresh_database: str, tmp_path: Path) -> None:
    """Its sheet looks names up in tables that this backup does not have."""
    create_isp(fresh_database, scale=0.002)
    customers = backed_up(fresh_database, tmp_path, load_catalog(BUILT_IN_CATALOGS / "isp_customers.yaml"))
    report = customers.drill()
    assert report.findings == ()
    [only] = report.tables
    assert (only.parquet, only.sheet, only.rows) == (How.BYTES, How.FINGERPRINT, only.rows_again)
    assert "columns of the sheet that could not be made again: " in said(report)
    assert "public.areas is empty, the backup has no rows of it" in said(report)
