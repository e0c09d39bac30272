"""The exit codes of the command line, for scripts that must tell one failure from another."""

from __future__ import annotations

from collections.abc import Mapping

INTERRUPTED = 130
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "failed",
    2: "the request is wrong: an option, a setting or a catalog",
    3: "partial: some of what was asked was done, and some was not",
    10: "not found: no such catalog, backup, table or object",
    11: "locked: somebody else holds what is needed",
    12: "can not decrypt: the key is wrong or missing",
    20: "verification failed: the stored bytes are not what the manifest says",
    21: "refused: a rule forbids it, and nothing was touched",
    22: "stale: the newest backup is too old",
    INTERRUPTED: "stopped on request (Ctrl-C)",
}
