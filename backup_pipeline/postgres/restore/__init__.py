"""A restore inside PostgreSQL: one transaction, its locks, its merge and its statements."""
