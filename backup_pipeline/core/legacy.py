"""Backup files of the programs before this one: what they are called, and what can be said of one."""

from __future__ import annotations

import json
from collections.abc import Mapping


def canonical_row(row: Mapping[str, object]) -> bytes:
    """A row in the one form that is hashed: keys sorted, no blanks, UTF-8.

    It is read with `parse_float=str`, so that a number with a fraction counts as it is written.
    """
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
