"""Where bundles and partitions live: S3, a directory, memory; and what wraps a store: retries, faults."""
