"""The console: a small web service that needs the ledger alone; neither Dagster, nor the source, nor the store."""
