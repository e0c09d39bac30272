"""Verify: is what lies in the store what the manifest says? One file a level; `backup.py` goes through them."""

from backup_pipeline.operations.verify.bytes import VerifyRequest
from backup_pipeline.operations.verify.perform import verify_attempt, verify_backup

__all__ = ["VerifyRequest", "verify_attempt", "verify_backup"]
