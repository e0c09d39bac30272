"""The port of the file formats as a whole."""

from __future__ import annotations

import pyarrow as pa

from backup_pipeline.formats.files import FileFormats


def test_arrow_allocates_with_jemalloc_where_pyarrow_has_it() -> None:
    before = pa.default_memory_pool()
    try:
        FileFormats()
        has_it = "jemalloc" in pa.supported_memory_backends()
        assert pa.default_memory_pool().backend_name == ("jemalloc" if has_it else before.backend_name)
    finally:
        pa.set_memory_pool(before)
