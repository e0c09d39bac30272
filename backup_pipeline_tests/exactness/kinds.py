"""Every type there is, with the values at its edges and a way to draw others, in groups."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

from backup_pipeline_tests.exactness.literals import (
    BIG_NUMERIC,
    CLOCKS,
    DIGITS,
    DOUBLES,
    INT4_RANGES,
    INTERVAL_PARTS,
    JSON,
    LEXEMES,
    MONEY,
    NASTY,
    POINTS,
    SOMEWHERE,
    TEXT,
    ZONES,
    Kind,
    days,
    instants,
    numbers,
    numerics,
    octets,
    quoted,
)

# Types with a native Arrow type: first with values that it holds, then with those that make the column text.
NATIVE: Sequence[Kind] = (
    Kind("bool", ["true", "false"]),
    Kind("int2", ["-32768", "32767", "0"], numbers(-(2**15), 2**15 - 1)),
    Kind("int4", ["-2147483648", "2147483647"], numbers(-(2**31), 2**31 - 1)),
    Kind("int8", ["-9223372036854775808", "9223372036854775807"], numbers(-(2**63), 2**63 - 1)),
    Kind("oid", ["0", "4294967295", "2147483648"], numbers(0, 2**32 - 1)),
    Kind(
        "float4",
        ["-0.0", "0.0", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "1.1", "16777217"],
        st.floats(width=32).map(repr),
    ),
    Kind("float8", ["-0.0", "0.0", "NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308", "0.1"], DOUBLES),
    Kind("numeric(12,2)", ["9999999999.99", "-9999999999.99", "0", "-0.01"], numerics(12, 2)),
    Kind("numeric(18,0)", ["999999999999999999", "-999999999999999999"], numerics(18, 0)),
    Kind("numeric(18,18)", ["0.999999999999999999", "-0.000000000000000001"], numerics(18, 18)),
    Kind("numeric(19,4)", ["999999999999999.9999"], numerics(19, 4)),
    Kind("numeric(38,10)", ["9999999999999999999999999999.9999999999"], numerics(38, 10)),
    Kind("numeric(38,38)", ["-0." + "9" * 38], numerics(38, 38)),
    Kind("text", NASTY, TEXT),
    Kind("varchar(20)", ["ab  ", "", "বাংলা"], TEXT),
    Kind("char(5)", ["ab", "     ", "abcde", " a", "é\t"], TEXT),
    Kind("name", ["a name", "", "x" * 63, "বাংলা"], TEXT),
    Kind("bytea", ["\\x", "\\x00", "\\x5c2700ff0d0a"], st.binary(max_size=40).map(lambda b: "\\x" + b.hex())),
    Kind("uuid", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"], st.uuids().map(str)),
    Kind("date", ["0001-01-01", "9999-12-31", "1969-12-31", "2024-02-29"], days(1, 9999)),
    Kind("time", ["00:00", "23:59:59.999999"], CLOCKS),
    Kind("time(0)", ["00:00", "23:59:59"], CLOCKS.map(lambda clock: clock[:8])),
    Kind("timestamp", ["0001-01-01", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"], instants(1, 9999)),
    Kind(
        "timestamptz",
        ["0001-01-01+00", "9999-12-31 23:59:59.999999+00", "1900-01-01 00:00+06"],
        instants(2, 9998, "+05:53:28"),
    ),
)
UNFIT: Sequence[Kind] = (
    Kind("numeric(12,2)", ["NaN", "1.50"], numerics(12, 2)),
    Kind("numeric(30,4)", ["NaN", "1.5000"], numerics(30, 4)),
    Kind(
        "date",
        ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "0001-12-31 BC", "10000-01-01"],
        days(-4000, 300_000),
    ),
    Kind("time", ["24:00", "00:00"], CLOCKS),
    Kind(
        "timestamp",
        ["infinity", "-infinity", "4713-01-01 BC", "294276-12-31 23:59:59.999999", "0044-03-15 BC"],
        instants(-4711, 294_275),
    ),
    Kind(
        "timestamptz",
        ["infinity", "-infinity", "4713-01-02 BC", "294276-12-31 23:59:59.999999+00"],
        instants(-4711, 294_275, "-15:59"),
    ),
)
NUMBERS_AS_TEXT: Sequence[Kind] = (
    Kind(
        "numeric",
        ["NaN", "Infinity", "-Infinity", "1.50", "1.5", "0.000", "-0", *BIG_NUMERIC],
        st.tuples(numbers(-(10**40), 10**40), DIGITS).map(".".join),
    ),
    Kind("numeric(5,-2)", ["9999900", "-100"], numbers(-9_999_900, 9_999_900)),
    Kind("numeric(3,5)", ["0.00999", "-0.00001"], numerics(3, 5)),
    Kind("numeric(1000,500)", ["9" * 500 + "." + "9" * 500, "NaN", "1"], numerics(900, 450)),
    Kind(
        "money",
        ["-92233720368547758.08", "92233720368547758.07", "0"],
        MONEY,
    ),
    Kind("xid", ["0", "4294967295"], numbers(0, 2**32 - 1)),
    Kind("xid8", ["0", "18446744073709551615"], numbers(0, 2**64 - 1)),
    Kind("cid", ["0", "4294967295"], numbers(0, 2**32 - 1)),
    Kind("tid", ["(4294967295,65535)", "(0,0)"]),
    Kind(
        "pg_lsn",
        ["0/0", "FFFFFFFF/FFFFFFFF"],
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda lsn: f"{lsn[0]:X}/{lsn[1]:X}"),
    ),
    Kind("pg_snapshot", ["10:20:10,14,15", "1:1:"]),
    Kind("txid_snapshot", ["10:20:10,14,15"]),
    Kind("int2vector", ["1 2 3", ""]),
    Kind("oidvector", ["1 4294967295", ""]),
)
TIMES_AND_PLACES: Sequence[Kind] = (
    Kind("timetz", ["24:00+00", "00:00-15:59", "23:59:59.999999+15:59:59"], st.tuples(CLOCKS, ZONES).map("".join)),
    Kind(
        "interval",
        [
            "178000000 years",
            "-178000000 years",
            "1 mon -30 days 24:00",
            "00:00:00.000001",
            "infinity",
            "1 year 2 mons -3 days +04:05:06.7",
        ],
        INTERVAL_PARTS.map(lambda p: f"{p[0]} mons {p[1]} days {p[2]} microseconds"),
    ),
    Kind("interval(0)", ["1.4 seconds"]),
    Kind("timestamp(3)", ["2026-01-01 00:00:00.1239"], instants(1, 9999)),
    Kind("point", ["(-0,NaN)", "(Infinity,1e-300)", "(1,2)"], st.tuples(DOUBLES, DOUBLES).map(",".join)),
    Kind("line", ["{1,-1,0}", "{0,1,-2.5}"]),
    Kind("lseg", ["[(0,0),(1,1)]"], st.tuples(POINTS, POINTS).map(",".join)),
    Kind("box", ["(1,1),(0,0)"], st.tuples(POINTS, POINTS).map(",".join)),
    Kind("path", ["[(0,0),(1,1)]", "((0,0),(1,1))"], SOMEWHERE.map(lambda p: f"[{p}]")),
    Kind("polygon", ["((0,0),(1,1),(2,0))"], SOMEWHERE.map(lambda p: f"({p})")),
    Kind(
        "circle",
        ["<(0,0),0>", "<(1,2),3>"],
        st.tuples(POINTS, st.floats(0, 1e6).map(repr)).map(lambda c: f"<{c[0]},{c[1]}>"),
    ),
    Kind(
        "inet",
        ["::1", "10.0.0.1/8", "0.0.0.0/0", "fe80::1/64", "::ffff:1.2.3.4"],
        st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)),
    ),
    Kind("cidr", ["10.0.0.0/8", "::/0", "fe80::/64"]),
    Kind("macaddr", ["08:00:2b:01:02:03"], octets(6)),
    Kind("macaddr8", ["08:00:2b:01:02:03:04:05"], octets(8)),
    Kind("bit(3)", ["000", "101"], st.text("01", min_size=3, max_size=3)),
    Kind("bit varying", ["", "1", "0" * 70], st.text("01", max_size=40)),
    Kind("bit varying(9)", ["", "101010101"], st.text("01", max_size=9)),
)
DOCUMENTS: Sequence[Kind] = (
    Kind(
        "json",
        ["null", '{"b":1, "a":1.10, "b": 2}', ' [ 1e400 ,"\\u0000" ] ', '"x"', "\n{}\t"],
        st.tuples(JSON, st.sampled_from([None, 0, 3]), st.booleans())
        .map(lambda j: json.dumps(j[0], indent=j[1], ensure_ascii=j[2]))
        .filter(lambda t: "\0" not in t),
    ),
    Kind(
        "jsonb",
        ["null", "{}", "[]", '"null"', "[1.10, 1.1, 1e400]", '{"b": 1, "a": {"": null}}'],
        JSON.map(lambda j: json.dumps(j, ensure_ascii=False)),
    ),
    Kind("jsonpath", ["$", "strict $.a[*] ? (@.b > 1 && exists (@.c))", 'lax $."a b".type()']),
    Kind(
        "tsvector",
        ["", "a:1A b:2,16383", "'it''s' '\\\\' 'a b':1"],
        st.lists(st.tuples(LEXEMES, st.integers(1, 16_383)), max_size=4).map(
            lambda words: " ".join(f"{quoted(word)}:{at}" for word, at in words)
        ),
    ),
    Kind(
        "tsquery",
        ["", "a & !b | (c <-> d:*A)", "'it''s' <2> x"],
        st.lists(LEXEMES, min_size=1, max_size=3).map(lambda words: " | ".join(map(quoted, words))),
    ),
    Kind('"char"', ["a", "", "\\351", "\\377", "\\001"], st.integers(1, 127).map(chr)),
    Kind("refcursor", NASTY, TEXT),
    Kind("char", ["a", " "], st.text("ab ", max_size=1)),
    Kind("char(2000)", ["x", ""]),
)
NAMES_OF_THINGS: Sequence[Kind] = (
    Kind("regclass", ["pg_class", '"Odd ""things"""', "pg_catalog.pg_type"]),
    Kind("regtype", ["int4", "text[]", '"настроение"', "-"]),
    Kind("regproc", ["pg_catalog.pg_backend_pid", "-"]),
    Kind("regprocedure", ["pg_catalog.abs(int4)", "-"]),
    Kind("regoper", ["pg_catalog.||/"]),
    Kind("regoperator", ["pg_catalog.+(int4,int4)"]),
    Kind("regrole", ["postgres", "-"]),
    Kind("regnamespace", ["pg_catalog", "public"]),
    Kind("regconfig", ["english", "simple"]),
    Kind("regdictionary", ["simple"]),
    Kind("regcollation", ['pg_catalog."C"']),
    Kind("aclitem", ["postgres=arwdDxt/postgres", "=r/postgres"], has_binary_form=False),
)
RANGES: Sequence[Kind] = (
    Kind("int4range", ["empty", "(,)", "[1,5)", "(,2147483647)"], INT4_RANGES),
    Kind("int8range", ["empty", "[-9223372036854775808,9223372036854775807)"], INT4_RANGES),
    Kind("numrange", ["empty", "(1.10,1.1000]".replace("1.1000", "2.1000"), "[NaN,)", "(,Infinity)"], INT4_RANGES),
    Kind("daterange", ["empty", "[2026-01-01,2026-02-01)", "(,infinity)", "[4713-01-01 BC,)"]),
    Kind("tsrange", ['["2026-01-01 00:00:00.000001",infinity]', "(,)", '("0044-03-15 BC",)']),
    Kind("tstzrange", ['["2026-01-01 00:00+06","294276-01-01 00:00+00")']),
    Kind(
        "int4multirange",
        ["{}", "{[1,2),[5,9)}", "{(,)}"],
        st.lists(INT4_RANGES, max_size=3).map(lambda ranges: "{" + ",".join(ranges) + "}"),
    ),
    Kind("nummultirange", ["{[1.10,2.0],(3,)}"]),
    Kind("datemultirange", ["{[2026-01-01,2026-02-01),[2027-01-01,infinity)}"]),
    Kind("tsmultirange", ['{["2026-01-01 00:00","2026-02-01 00:00"]}']),
    Kind("tstzmultirange", ['{["2026-01-01 00:00+06",)}']),
    Kind("int8multirange", ["{[1,2)}"]),
)
OUR_OWN: Sequence[Kind] = (
    Kind('"настроение"', ["so so", "it's", 'a "b", {c}', "😀", ""]),
    Kind('"целое ""число"""', ["1", "2147483647"], numbers(1, 2**31 - 1)),
    Kind('"цена"', ["1.50", "-9999999999.99"], numerics(12, 2)),
    Kind('"с рядом"', ["({},1)", '("{1.50,NULL}",)', '("[0:1]={1,2}",)', '("{{1,2},{3,NULL}}",7)', "(,)"]),
    Kind('"пара"', ["(,)", '(0,"a ""b"", (c)\\\\")', "(1,)"]),
    Kind('"пара в паре"', ['("(1,""x, y"")","{""(2,)"",NULL}",so so)', "(,,)"]),
    Kind('"только пара"', ['(1,"x")', "(,)"]),
    Kind('"только настроение"', ["so so", "😀"]),
    Kind('"промежуток"', ["[1.5,2.5)", "empty"]),
    Kind('"только промежуток"', ["(0.1,0.2]"]),
    Kind('"текст"', NASTY, TEXT),
)
OUR_OWN_SQL = """
CREATE TABLE "Odd ""things"\"" (x int);
CREATE TYPE "настроение" AS ENUM ('so so', 'it''s', 'a "b", {c}', '😀', '');
CREATE DOMAIN "целое ""число"\"" AS int CHECK (VALUE > 0);
CREATE DOMAIN "сумма" AS numeric(12,2);
CREATE DOMAIN "цена" AS "сумма";
CREATE DOMAIN "ряд" AS numeric(12,2)[];
CREATE TYPE "с рядом" AS (r "ряд", n "целое ""число"\"");
CREATE TYPE "пара" AS (a int, "b ""c"\"" text);
CREATE TYPE "пара в паре" AS (p "пара", ps "пара"[], m "настроение");
CREATE DOMAIN "только пара" AS "пара";
CREATE DOMAIN "только настроение" AS "настроение";
CREATE TYPE "промежуток" AS RANGE (subtype = float8);
CREATE DOMAIN "только промежуток" AS "промежуток";
CREATE DOMAIN "текст" AS text;
"""
GROUPS: dict[str, Sequence[Kind]] = {
    "native": NATIVE,
    "unfit": UNFIT,
    "numbers": NUMBERS_AS_TEXT,
    "times and places": TIMES_AND_PLACES,
    "documents": DOCUMENTS,
    "names of things": NAMES_OF_THINGS,
    "ranges": RANGES,
    "our own": OUR_OWN,
}
XML = Kind("xml", ["<a>1</a>", "text, <b/> and more", "<?xml version='1.0'?><a b=\"'\">&amp;\n</a>", ""])
