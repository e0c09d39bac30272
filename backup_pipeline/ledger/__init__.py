"""The ledger: `backup_logs` and its companions in PostgreSQL, migrated by Alembic, guarded by row-level security."""
