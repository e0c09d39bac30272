"""Where bundles and partitions live: S3 or a directory; and what wraps a store: retries, encryption."""
