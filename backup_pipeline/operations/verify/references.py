"""Level 3: the rows that rows refer to are in the backup too, for references between tables of one snapshot."""

from __future__ import annotations

from backup_pipeline.core.comparable import pointings
from backup_pipeline.core.decoding import Decoder, Orphans, Pointing
from backup_pipeline.core.progress import StageStarted
from backup_pipeline.core.verification import Finding, Level, LevelReport, Remark
from backup_pipeline.operations.anomaly_references import CHEAP_ROWS
from backup_pipeline.operations.verify.asked import Subject, VerifyPorts
from backup_pipeline.operations.verify.parquet_files import ParquetFiles

_OLD = "the manifest of format 1.0 names no references"


def references(at: Subject, parquet: ParquetFiles, ports: VerifyPorts, decoder: Decoder) -> LevelReport:
    """Every reference of the tables looked at, followed where that is possible; where it is not, a remark says why."""
    ports.progress.tell(StageStarted("references"))
    told: list[Finding | Remark] = []
    looked, left, why = [], [at.member(f"parquet/{table.name}") for table in at.left_out()], [at.sample]
    old = [at.member(f"parquet/{table.name}") for table in at.tables if table.relation_id is None]
    left, why = [*left, *old], [*why, _OLD if old else ""]
    for pointing in pointings(at.manifest, [table.name for table in at.tables]):
        if pointing.why_not is not None:
            told.append(_remark(at, pointing, f"was not followed: {pointing.why_not}."))
        elif at.deadline.over():
            left, why = [*left, str(pointing)], [*why, str(at.deadline)]
        elif (damaged := parquet.damaged((pointing.table, pointing.target))) is not None:
            told.append(_remark(at, pointing, f"was not followed: something is wrong with {damaged}."))
        else:
            looked.append(str(pointing))
            found = decoder.orphans(pointing, parquet.paths(pointing.table), parquet.paths(pointing.target))
            told += [_told(at, pointing, found)] if found.rows else []
    findings = tuple(one for one in told if isinstance(one, Finding))
    remarks = tuple(one for one in told if isinstance(one, Remark))
    reasons = ", ".join(dict.fromkeys(reason for reason in why if reason))
    return LevelReport(Level.REFERENCES, tuple(looked), tuple(left), reasons, findings, remarks)


def _told(at: Subject, pointing: Pointing, found: Orphans) -> Finding | Remark:
    keys = "; ".join(_key(pointing, example) for example in found.examples)
    message = f"has {found.rows:,} rows that refer to no row of {pointing.target}: {keys}{_more(found)}."
    if at.manifest.broken.get(str(pointing)) == found.rows:
        told = f"{message} The source itself broke this key, as the backup says; a restore makes it NOT VALID."
        return Remark(Level.REFERENCES, at.member(f"parquet/{pointing.table}"), told)
    if pointing.enforced and not _uncounted_and_whole(at, pointing, found):
        return Finding(Level.REFERENCES, at.member(f"parquet/{pointing.table}"), message)
    if pointing.enforced:
        told = f"{message} All {found.targets:,} rows of {pointing.target} are here: the source itself broke this key."
        return Remark(Level.REFERENCES, at.member(f"parquet/{pointing.table}"), told)
    return Remark(Level.REFERENCES, at.member(f"parquet/{pointing.table}"), f"{message} The database allows it.")


def _uncounted_and_whole(at: Subject, pointing: Pointing, found: Orphans) -> bool:
    """Whether rows that lead nowhere were so in the source, though the backup did not count them: it was too large.

    As many different keys as the target table had rows in the snapshot are all the keys that there were.
    """
    rows = {table.name: table.row_count for table in at.manifest.tables}
    counted = rows[pointing.table] + rows[pointing.target] <= CHEAP_ROWS
    return not counted and found.targets == rows[pointing.target]


def _key(pointing: Pointing, example: tuple[str, ...]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in zip(pointing.columns, example, strict=True))


def _more(found: Orphans) -> str:
    return "; …" if found.rows > len(found.examples) else ""


def _remark(at: Subject, pointing: Pointing, message: str) -> Remark:
    return Remark(Level.REFERENCES, at.member(f"parquet/{pointing.table}"), f"{pointing} {message}")
