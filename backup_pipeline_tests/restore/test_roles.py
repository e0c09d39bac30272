"""Roles that policies name and the target's server lacks are listed in the plan, before anything is done."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.core.restore import Mode
from backup_pipeline_tests.restore.bench import back_up, one, refusals, run

POLICIES = """
DROP ROLE IF EXISTS tenant_seventeen, "Other ""tenant"; CREATE ROLE tenant_seventeen; CREATE ROLE "Other ""tenant";
CREATE TABLE emp (id int PRIMARY KEY); INSERT INTO emp VALUES (1);
ALTER TABLE emp ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON emp TO tenant_seventeen, "Other ""tenant", CURRENT_USER USING (true);
CREATE TABLE other (id int PRIMARY KEY);
"""
GONE = 'DROP OWNED BY tenant_seventeen, "Other ""tenant"; DROP ROLE tenant_seventeen, "Other ""tenant"'


def test_missing_roles_are_named_with_the_commands_that_make_them(
    fresh_database: str, empty_database: str, tmp_path: Path
) -> None:
    run(fresh_database, POLICIES)
    bench = back_up(fresh_database, tmp_path)
    run(fresh_database, GONE)
    plan = bench.plan(empty_database, Mode.NEW)
    commands = 'CREATE ROLE "Other ""tenant" NOLOGIN; CREATE ROLE "tenant_seventeen" NOLOGIN;'
    assert "roles that the target's server lacks: Other \"tenant, tenant_seventeen." in refusals(plan)
    assert commands in refusals(plan)
    assert all(command in bench_readme(bench) for command in commands.replace("; ", ";;").split(";") if command)
    assert not bench.plan(empty_database, Mode.NEW, "other").refused
    run(empty_database, commands)
    try:
        bench.restore(empty_database, Mode.NEW)
        assert one(empty_database, "SELECT array_length(polroles, 1) FROM pg_policy") == 3
    finally:
        run(empty_database, GONE)


def bench_readme(bench: object) -> str:
    from backup_pipeline_tests.restore.bench import Bench
    from backup_pipeline_tests.restore.by_hand import unpacked

    assert isinstance(bench, Bench)
    return " ".join(unpacked(bench, bench.spool / "bundle").readme.split())
