"""Releases of PostgreSQL, and which of its programs is as recent as a server.

A minor release may put something into the system catalogs that only programs of the same day know how to leave out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")
# All living branches have their minor releases on the same day, so that their numbers differ by a constant: 18.1 came
# with 17.7, 16.11, 15.15, 14.20 and 13.23 (postgresql.org, "Versioning Policy").
_AHEAD_OF_18 = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6, 18: 0}


@dataclass(frozen=True, order=True)
class Release:
    """A release, such as 15.20; of a development version the minor number is 0."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def of(cls, number: int) -> Release:
        """That of `server_version_num`, which is 150020 for 15.20."""
        return cls(*divmod(number, 10_000))

    @classmethod
    def read(cls, text: str) -> Release | None:
        """The first version that `text` names; None when it names none."""
        match = _VERSION.search(text)
        return cls(int(match[1]), int(match[2] or 0)) if match else None

    def reads(self, server: Release) -> bool:
        """Whether a pg_dump of this release takes on that server at all: none of an older major version does."""
        return self.major >= server.major

    def is_as_recent(self, server: Release) -> bool:
        """Whether it came out on the day of the server's release, or later; of unknown branches that is assumed."""
        if self.major == server.major:
            return self.minor >= server.minor
        if self.major in _AHEAD_OF_18 and server.major in _AHEAD_OF_18:
            return self.minor - _AHEAD_OF_18[self.major] >= server.minor - _AHEAD_OF_18[server.major]
        return True
