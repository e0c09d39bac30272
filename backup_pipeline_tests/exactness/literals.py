"""What hypothesis draws for a type, as PostgreSQL's own literals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

Literals = st.SearchStrategy[str]


@dataclass(frozen=True)
class Kind:
    """A type as SQL writes it, literals at its edges, and a strategy for others (None: the edges are all there is)."""

    sql: str
    edges: Sequence[str]
    drawn: Literals | None = None
    has_binary_form: bool = True

    @property
    def any(self) -> Literals:
        edges = st.sampled_from(list(self.edges))
        return edges if self.drawn is None else st.one_of(edges, self.drawn)


TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
NASTY = [
    "",
    " ",
    "NULL",
    "null",
    "\\N",
    "\\.",
    "\\",
    "\\\\x",
    "a\tb",
    "a\nb",
    "a\rb",
    "a\r\nb\r\n",
    '"quoted", "twice"',
    "it's",
    '""',
    "'",
    "{a,b}",
    "(1,2)",
    "=1+1",
    "-5",
    "😀👨‍👩‍👧",
    "আব্দুল করিম",
    "e\u0301",
    "\ufeffbom",
    "\u2028\u2029\x85",
    "\x01\x1f\x7f",
    "trailing   ",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
DOUBLES = st.floats(width=64).map(repr)
PLAIN = st.floats(-1e6, 1e6, allow_nan=False).map(repr)
POINTS = st.tuples(PLAIN, PLAIN).map(lambda p: f"({p[0]},{p[1]})")
SOMEWHERE = st.lists(POINTS, min_size=3, max_size=5).map(",".join)
DIGITS = st.text("0123456789", min_size=1, max_size=40)
LEXEMES = st.text("abcäñ'\\ :😀", min_size=1, max_size=6)
INTERVAL_PARTS = st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(-(10**15), 10**15))
BIG_NUMERIC = ["9" * 1000, "-" + "9" * 1000 + "." + "1" * 1000, "0." + "0" * 999 + "1", "1e5000", "1e-5000"]
CLOCKS = st.times().map(lambda t: t.isoformat())
ZONES = st.sampled_from(["+00", "+06", "-15:59", "+05:45", "+15:59:59", "-00:00:01"])


def numbers(least: int, most: int) -> Literals:
    return st.integers(least, most).map(str)


def numerics(digits: int, scale: int) -> Literals:
    return numbers(-(10**digits) + 1, 10**digits - 1).map(lambda n: f"{n}e-{scale}")


def days(first: int, last: int) -> Literals:
    """Dates in years from `first` to `last`; a year below 1 is BC."""
    years, months, days = st.integers(first, last), st.integers(1, 12), st.integers(1, 28)
    return st.tuples(years, months, days).map(
        lambda d: f"{d[0]:04}-{d[1]:02}-{d[2]:02}" if d[0] > 0 else f"{1 - d[0]:04}-{d[1]:02}-{d[2]:02} BC"
    )


def instants(first: int, last: int, zone: str = "") -> Literals:
    def joined(parts: tuple[str, str]) -> str:
        day, _, era = parts[0].partition(" ")
        return f"{day} {parts[1]}{zone}{' BC' if era else ''}"

    return st.tuples(days(first, last), CLOCKS).map(joined)


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def any_range(bounds: st.SearchStrategy[int]) -> Literals:
    pair = st.lists(bounds, min_size=2, max_size=2).map(sorted)
    edges = st.sampled_from(["[)", "(]", "[]", "()"])
    return st.tuples(pair, edges).map(lambda r: f"{r[1][0]}{r[0][0]},{r[0][1]}{r[1][1]}")


def octets(count: int, separator: str = ":") -> Literals:
    return st.binary(min_size=count, max_size=count).map(lambda b: separator.join(f"{o:02x}" for o in b))


INT4_RANGES = any_range(st.integers(-(10**6), 10**6))


MONEY = st.tuples(st.sampled_from(["", "-"]), st.integers(0, 2**63 - 1)).map(
    lambda m: f"{m[0]}{m[1] // 100}.{m[1] % 100:02}"
)
