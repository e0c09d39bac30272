"""The source database and the restore target: snapshots, pages, introspection, loading."""
