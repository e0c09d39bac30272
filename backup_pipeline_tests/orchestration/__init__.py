"""Tests of the Dagster side: real runs on a real instance, against a real source, ledger and store."""
