"""The ledger's migrations: Alembic's environment and the revisions."""
