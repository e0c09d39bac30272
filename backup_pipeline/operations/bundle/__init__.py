"""Bundle: the partitions of one date as one ZIP with its manifest, in the store, and checked there."""

from backup_pipeline.operations.bundle.asked import BundleRequest
from backup_pipeline.operations.bundle.make import counts, make_bundle, sizes

__all__ = ["BundleRequest", "counts", "make_bundle", "sizes"]
