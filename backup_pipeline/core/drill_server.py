"""The scratch server of a drill: what a backup's definitions want of it, and which PostgreSQL here fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backup_pipeline.core.errors import TargetError
from backup_pipeline.core.restore_entries import Dump, Entry
from backup_pipeline.core.restore_roles import roles_of

EXTENSIONS_BY_LIST = frozenset(
    {
        *("address_standardizer", "address_standardizer_data_us", "anon", "bloom", "earthdistance", "first_last_agg"),
        *(
            "h3",
            "h3_postgis",
            "hll",
            "intagg",
            "ip4r",
            "numeral",
            "orafce",
            "periods",
            "pg_bigm",
            "pg_hashids",
            "pg_ivm",
        ),
        *("pg_partman", "pg_uuidv7", "pgmq", "pgrouting", "pgtap", "postgis", "postgis_raster", "postgis_sfcgal"),
        *("postgis_tiger_geocoder", "postgis_topology", "prefix", "q3c", "roaringbitmap", "rum", "semver"),
        *("temporal_tables", "tdigest", "topn", "unit", "vector", "xml2"),
    }
)
"""Extensions of types and functions that PostgreSQL lets only a superuser make, and that open neither files nor a way
out: a drill makes them. Those that PostgreSQL calls trusted need no list."""
EXTENSIONS_BESIDE = frozenset(
    {
        *(
            "adminpack",
            "amcheck",
            "auto_explain",
            "dblink",
            "file_fdw",
            "hypopg",
            "mysql_fdw",
            "ogr_fdw",
            "old_snapshot",
        ),
        *(
            "oracle_fdw",
            "pageinspect",
            "pg_buffercache",
            "pg_cron",
            "pg_freespacemap",
            "pg_hint_plan",
            "pg_logicalinspect",
        ),
        *(
            "pg_net",
            "pg_prewarm",
            "pg_qualstats",
            "pg_repack",
            "pg_stat_kcache",
            "pg_stat_monitor",
            "pg_stat_statements",
        ),
        *("pg_surgery", "pg_visibility", "pg_wait_sampling", "pg_walinspect", "pgaudit", "pglogical", "pgrowlocks"),
        *(
            "pgstattuple",
            "plpython3u",
            "plperlu",
            "pltclu",
            "plsh",
            "postgres_fdw",
            "sslinfo",
            "supabase_vault",
            "tds_fdw",
        ),
        *("http", "powa", "set_user", "wal2json"),
    }
)
"""Extensions that look after a server or reach out of it. No table is made of them: a drill does without."""
_PACKAGES = {
    "pg_partman": "postgresql-{v}-partman",
    "pgrouting": "postgresql-{v}-pgrouting",
    "vector": "postgresql-{v}-pgvector",
    "h3": "postgresql-{v}-h3",
    "hll": "postgresql-{v}-hll",
    "ip4r": "postgresql-{v}-ip4r",
    "orafce": "postgresql-{v}-orafce",
    "periods": "postgresql-{v}-periods",
    "pgtap": "postgresql-{v}-pgtap",
    "prefix": "postgresql-{v}-prefix",
    "q3c": "postgresql-{v}-q3c",
    "rum": "postgresql-{v}-rum",
    "semver": "postgresql-{v}-semver",
    "tdigest": "postgresql-{v}-tdigest",
    "unit": "postgresql-{v}-unit",
    "postgis": "postgresql-{v}-postgis-3",
    "postgis_raster": "postgresql-{v}-postgis-3",
    "postgis_topology": "postgresql-{v}-postgis-3",
    "postgis_tiger_geocoder": "postgresql-{v}-postgis-3",
    "postgis_sfcgal": "postgresql-{v}-postgis-3",
    "plperl": "postgresql-plperl-{v}",
    "pltcl": "postgresql-pltcl-{v}",
}
_CONTRIB = frozenset(
    {
        *(
            "bloom",
            "btree_gin",
            "btree_gist",
            "citext",
            "cube",
            "dict_int",
            "dict_xsyn",
            "earthdistance",
            "fuzzystrmatch",
        ),
        *(
            "hstore",
            "insert_username",
            "intagg",
            "intarray",
            "isn",
            "lo",
            "ltree",
            "moddatetime",
            "pg_trgm",
            "pgcrypto",
        ),
        *("refint", "seg", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp", "xml2"),
    }
)


@dataclass(frozen=True)
class Extension:
    """An extension that definitions want, and the schema they want it in; None: the server's choice."""

    name: str
    schema: str | None = None


@dataclass(frozen=True)
class ServerNeeds:
    """What a backup wants of a server: the major version it comes from, extensions in order, roles of policies."""

    version: int
    extensions: tuple[Extension, ...] = ()
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Installation:
    """A PostgreSQL on this machine: where its programs are, its major version, the extensions that it could make."""

    bindir: str
    version: int
    extensions: frozenset[str]

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} in {self.bindir}"


def needs_of(dump: Dump, server_version: str) -> ServerNeeds:
    """What `dump` wants, that comes from a server which called itself `server_version` (`15.20 (Debian …)`)."""
    major = server_version.split(".")[0].split(" ")[0]
    return ServerNeeds(int(major) if major.isdigit() else 0, tuple(_extensions(dump)), roles(dump))


def beside(dump: Dump) -> Iterator[str]:
    """What is to be said of extensions that a drill does without."""
    for entry in dump.entries:
        if entry.kind == "EXTENSION" and entry.tag in EXTENSIONS_BESIDE:
            yield f"extension {entry.tag} is not made: no table is made of it, and it reaches out of the database."


def fitting(installed: Sequence[Installation], needs: ServerNeeds) -> Installation:
    """The installation to drill on: with every extension, and of the source's version or the next after it.

    An older one comes last. Of equal ones the first is taken. TargetError, naming what is missing in each, when none
    has all extensions.
    """
    wanted = {extension.name for extension in needs.extensions}
    able = [server for server in installed if wanted <= server.extensions]
    if able:
        return min(able, key=lambda server: (server.version < needs.version, abs(server.version - needs.version)))
    missing = "; ".join(f"{server} lacks {', '.join(sorted(wanted - server.extensions))}" for server in installed)
    message = f"No PostgreSQL on this machine can drill this backup: {missing or 'there is none'}."
    nearest = min(installed, key=lambda server: len(wanted - server.extensions), default=None)
    lacking = sorted(wanted - nearest.extensions) if nearest else sorted(wanted)
    do = (
        f"Install a PostgreSQL with {', '.join(lacking)} here (Debian: {_packages(lacking, needs.version)}), or set "
        "BACKUP_DRILL_PG_BIN to the folder of its programs."
    )
    raise TargetError(message, do=do)


def _packages(names: Sequence[str], version: int) -> str:
    """Debian's packages (as postgresql.org's own archive names them too) that bring these extensions."""
    return " and ".join(sorted({_package(name, version) for name in names})) or f"postgresql-{version}"


def _package(name: str, version: int) -> str:
    """The package of one extension. A name from a dump is text, never a template."""
    if name in _CONTRIB:
        return f"postgresql-{version}"
    return _PACKAGES[name].format(v=version) if name in _PACKAGES else f"the package that has {name}"


def _extensions(dump: Dump) -> Iterator[Extension]:
    """The extensions that tables may be made of, in the dump's order: it has those before that others need."""
    for entry in dump.entries:
        if entry.kind == "EXTENSION" and entry.tag not in EXTENSIONS_BESIDE:
            yield Extension(entry.tag, _schema(entry))


def _schema(entry: Entry) -> str | None:
    tokens = entry.tokens
    at = next((at for at, token in enumerate(tokens) if token.is_word("SCHEMA")), None)
    return tokens[at + 1].text if at is not None and at + 1 < len(tokens) and tokens[at + 1].is_name else None


def roles(dump: Dump) -> frozenset[str]:
    """The roles that policies and user mappings name: a dump does not make roles."""
    return roles_of(dump.entries)
