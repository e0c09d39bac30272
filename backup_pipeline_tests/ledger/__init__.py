"""Tests of the ledger: migrations, row-level security, owner and heartbeat."""
