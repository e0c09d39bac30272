"""A sample: a share of a backup's tables, the same one each time that the same seed is given."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from backup_pipeline.core.errors import UsageError


@dataclass(frozen=True)
class Sample:
    """A share of the tables, `10%`, another one for another seed; or a part of them, `2/7`: the second of seven.

    All parts together are all tables, whatever the seed.
    """

    text: str
    share: Fraction
    part: int | None = None

    def chosen(self, names: Sequence[str], *, of: str, seed: str) -> tuple[str, ...]:
        """The names of the sample, in their order. `of` is what they belong to, so that each backup has its own."""
        salt = of if self.part is not None else f"{of} {seed}"
        ranked = sorted(names, key=lambda name: hashlib.sha256(f"{salt} {name}".encode()).digest())
        if self.part is not None:
            taken = set(ranked[self.part - 1 :: self.share.denominator])
        else:
            taken = set(ranked[: ceil(self.share * len(ranked))])
        return tuple(name for name in names if name in taken)

    def __str__(self) -> str:
        return f"sample {self.text}"


def parse_sample(text: str) -> Sample:
    """The sample written as `text`; UsageError, saying what is allowed, when it is none."""
    if (percent := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%", text.strip())) and 0 < Fraction(percent[1]) <= 100:
        return Sample(text.strip(), Fraction(percent[1]) / 100)
    part = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text.strip())
    if part and 1 <= int(part[1]) <= int(part[2]):
        return Sample(text.strip(), Fraction(1, int(part[2])), int(part[1]))
    message = f"{text!r} is not a sample."
    raise UsageError(message, do="Write a share such as 10%, or a part such as 2/7: the second of seven.")
