"""Which values go to the server in its own binary form: those whose form is known here, into columns of that very type.

Source: PostgreSQL's manual, "COPY", and the `_send` and `_recv` functions of each type. Everything else goes as text.
"""

from __future__ import annotations

import re

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What a binary COPY begins with: its signature, no flags, no extension."""
COPY_TRAILER = b"\xff\xff"
"""What it ends with."""
JSONB = "jsonb"
_LIMITS = re.compile(r"\([\d, ]+\)")
_TYPES = {
    "bool": {"boolean"},
    "int16": {"smallint"},
    "int32": {"integer"},
    "int64": {"bigint"},
    "float": {"real"},
    "double": {"double precision"},
    "binary": {"bytea"},
    "uuid": {"uuid"},
    "date32[day]": {"date"},
    "time64[us]": {"time without time zone"},
    "timestamp[us]": {"timestamp without time zone"},
    "timestamp[us, tz=UTC]": {"timestamp with time zone"},
    "string": {"text", "character varying", "character", "json", JSONB},
}


def goes_binary(arrow_type: str, pg_type: str) -> bool:
    """Whether values of `arrow_type` go in binary form into a column of `pg_type`, as PostgreSQL prints it."""
    name = _LIMITS.sub("", pg_type)
    if arrow_type.startswith("decimal128("):
        return name == "numeric"
    return name in _TYPES.get(arrow_type, set())
