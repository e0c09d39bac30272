"""Alembic's environment: run the revisions on the connection that `ledger.migrate` hands over."""

from __future__ import annotations

from alembic import context

from backup_pipeline.ledger.business_tables import metadata
from backup_pipeline.ledger.migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
