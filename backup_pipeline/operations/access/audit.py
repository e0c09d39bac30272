"""Whether the audit is what was written: its chain, from the first row to the last."""

from __future__ import annotations

from backup_pipeline.core.audit import ChainCheck, ChainReport
from backup_pipeline.core.ports import Ledger


def verify_audit(ledger: Ledger, expect: str | None = None) -> ChainReport:
    """Look at every row; `expect` is the hash of a row that somebody kept, which has to be among them."""
    check = ChainCheck(expect)
    for entry in ledger.audit_rows.chain():
        check.look(entry)
    return check.report()
