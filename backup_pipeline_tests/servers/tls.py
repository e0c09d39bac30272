"""A PostgreSQL that takes connections over TLS alone, its authority, and certificates for its clients."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.embedded.cluster import Home
from backup_pipeline_tests.servers.debian import system_server

CERTIFIED = "certified"
"""A role that comes in with its client certificate, and no password."""
KEY_PASSWORD = "key's pass phrase"
_HBA = f"""
hostssl all {CERTIFIED} 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
"""


class Authority:
    """An authority that signs certificates; its own is the file `root`."""

    def __init__(self, folder: Path, name: str = "the tests' authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.root = folder / "root.crt"
        self.root.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, password: str = "", server: bool = False) -> tuple[Path, Path]:
        """A certificate for `name` and its key, as files; a server's is for localhost and 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), self._name, key.public_key())
        if server:
            places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(places), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        stem = name + ("-locked" if password else "")
        files = self._folder / f"{stem}.crt", self._folder / f"{stem}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].touch(0o600)
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
        return files


@dataclass(frozen=True)
class TlsServer:
    """A server behind TLS. `authority` signed its certificate, and signs those of clients."""

    server: EmbeddedPostgres
    authority: Authority
    folder: Path
    certificate: tuple[Path, Path] = field(repr=False)
    locked_certificate: tuple[Path, Path] = field(repr=False)

    def url(self, database: str = "postgres", *, user: str = "postgres", **parameters: str) -> str:
        """The URL of a database, `verify-full` against the authority unless `parameters` of libpq say otherwise."""
        plain = self.server.url(database, user) if user != CERTIFIED else self._without_password(database)
        given = {"sslmode": "verify-full", "sslrootcert": str(self.authority.root), **parameters}
        return f"{plain}?{urlencode(given, quote_via=quote)}"

    def certified_url(self, database: str, *, locked: bool) -> str:
        """The URL of the role that comes in by its certificate; `locked`: its key has a password."""
        certificate, key = self.locked_certificate if locked else self.certificate
        password = {"sslpassword": KEY_PASSWORD} if locked else {}
        return self.url(database, user=CERTIFIED, sslcert=str(certificate), sslkey=str(key), **password)

    def _without_password(self, database: str) -> str:
        return f"postgresql://{CERTIFIED}@{self.server.connection.host}:{self.server.connection.port}/{database}"


@contextmanager
def tls_server(home: Path) -> Iterator[TlsServer]:
    """A server of the system's packages in `home` that refuses every connection without TLS; skips without it."""
    home.mkdir(parents=True, exist_ok=True)
    with system_server(home / "server") as server:
        authority = Authority(home)
        data = Home(home / "server").data
        certificate, key = authority.issue("server", server=True)
        owner = data.stat()
        for path, name in ((certificate, "server.crt"), (key, "server.key"), (authority.root, "root.crt")):
            copy = data / name
            copy.touch(0o600)
            copy.write_bytes(path.read_bytes())
            os.chown(copy, owner.st_uid, owner.st_gid)
        with psycopg.connect(server.url("postgres"), autocommit=True) as session:
            session.execute(f"CREATE ROLE {CERTIFIED} LOGIN; GRANT pg_read_all_data TO {CERTIFIED}".encode())
            for setting in ("ssl = on", "ssl_ca_file = 'root.crt'", "lc_messages = 'C'"):
                session.execute(f"ALTER SYSTEM SET {setting}".encode())
            (data / "pg_hba.conf").write_text(_HBA)
            session.execute("SELECT pg_reload_conf()")
        made = TlsServer(
            server, authority, home, authority.issue(CERTIFIED), authority.issue(CERTIFIED, password=KEY_PASSWORD)
        )
        _wait(made)
        yield made


def _wait(made: TlsServer) -> None:
    """Until the server has read its new settings: TLS is taken, and nothing else."""
    for attempt in range(200):
        try:
            psycopg.connect(made.server.url("postgres"), sslmode="disable").close()
        except psycopg.OperationalError:
            psycopg.connect(made.url()).close()
            return
        assert attempt < 199, "the server still takes connections without TLS"


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
    )
