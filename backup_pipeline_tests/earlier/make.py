"""Make the files of this folder: an installation's store and ledger, and what its commands print of them.

    PYTHONPATH=CHECKOUT python backup_pipeline_tests/earlier/make.py NAME

runs the commands of the package in CHECKOUT (`git worktree add --detach CHECKOUT COMMIT`; its compiled loops have to
be there) and writes `NAME.tar.gz` (stores, catalogs, keys), `NAME.sql` (the ledger) and `NAME.json` beside this file.
The keys are for these tests and open nothing else.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg

from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.postgres.programs import find_binaries

HERE = Path(__file__).parent
HOME = "/var/lib/earlier"
"""What stands in the files for the folder that everything was in."""

SHOP = """
CREATE TYPE size AS ENUM ('small', 'large');
CREATE TABLE areas (id serial PRIMARY KEY, name text NOT NULL);
INSERT INTO areas (name) VALUES ('Dhaka'), ('ঢাকা');
CREATE TABLE customers (
    id serial PRIMARY KEY, area_id integer REFERENCES areas, name text NOT NULL, national_id text,
    balance numeric(10, 2), size size, note jsonb, code uuid, born date, seen timestamptz, photo bytea);
INSERT INTO customers (area_id, name, national_id, balance, size, note, code, born, seen, photo)
    SELECT 1 + n % 2, 'Customer ' || n, 'N' || n, n * 2.25, CASE WHEN n % 3 = 0 THEN 'small' ELSE 'large' END::size,
        jsonb_build_object('n', n), md5(n::text)::uuid, date '1990-01-01' + n,
        timestamptz '2026-01-01 06:00+06' + n * interval '1 hour', decode(md5(n::text), 'hex')
    FROM generate_series(1, 40) n;
CREATE TABLE orders (
    shop text, number integer, customer_id integer REFERENCES customers, tags text[], total numeric,
    PRIMARY KEY (shop, number));
INSERT INTO orders SELECT 'A', n, 1 + n % 40, ARRAY['a' || n, NULL], n * 1.1 FROM generate_series(1, 120) n;
INSERT INTO orders VALUES ('B', 1, 1, NULL, 'NaN');
CREATE TABLE events (happened timestamptz, what text);
INSERT INTO events VALUES ('infinity', 'never'), ('2026-01-01 06:00+06', 'a line
of two');
"""

RETAIL = """
CREATE TABLE sellers (id text PRIMARY KEY, name text NOT NULL);
INSERT INTO sellers VALUES ('a', 'Anika'), ('b', 'Babul');
CREATE TABLE sales (id serial PRIMARY KEY, seller text REFERENCES sellers, amount numeric(10, 2), note text);
INSERT INTO sales (seller, amount, note) SELECT CASE WHEN n % 3 = 0 THEN 'b' ELSE 'a' END, n, 'sale ' || n
    FROM generate_series(1, 30) n;
"""
CHANGES = "UPDATE sales SET amount = 99 WHERE id = 3; DELETE FROM sales WHERE id = 6"

CATALOGS = {
    "retail": """catalog: retail
timezone: Asia/Dhaka
schedule: null
businesses: {registry: sellers, name: name, every: 5 minutes}
tables:
  sellers: {business: id}
  sales: {business: seller}
""",
    "shop": """catalog: shop
title: The shop
timezone: Asia/Dhaka
owners: [team:data]
tables:
  areas:
  customers:
    sheet: Customers
    columns: {Name: name, Area: area_id.name, Orders: "orders[customer_id].number", Seen: seen}
    mask: [national_id]
  orders:
excluded:
  - {table: events, reason: "a log of its own"}
""",
    "vault": """catalog: vault
timezone: Asia/Dhaka
schedule: null
tables:
  areas:
  customers:
    exclude: {national_id: "private"}
  orders:
  events:
""",
}


class Installation:
    """An installation in a folder, driven by its commands."""

    def __init__(self, home: Path, source: str, retail: str, ledger: str) -> None:
        self.home = home
        self.source, self.retail = source, retail
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BACKUP_")},
            "BACKUP_HOME": str(home / "home"),
            "BACKUP_CATALOGS": str(home / "catalogs"),
            "BACKUP_CATALOG": "shop",
            "BACKUP_SOURCE_URL": source,
            "BACKUP_SOURCE_URL_RETAIL": retail,
            "BACKUP_LEDGER_URL": ledger,
            "BACKUP_STORE": (home / "store").as_uri(),
            "BACKUP_SECOND_STORE": (home / "second").as_uri(),
        }

    def run(self, *arguments: str, more: Mapping[str, str] | None = None, code: int = 0) -> str:
        """Run a command with `more` settings than the usual ones; what it printed. It has to end with `code`."""
        command = [
            sys.executable,
            "-c",
            "import sys; from backup_pipeline.cli import main; sys.exit(main(sys.argv[1:]))",
        ]
        ended = subprocess.run(
            [*command, *arguments],
            env=self.environment | dict(more or {}),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if ended.returncode != code:
            sys.exit(ended.stdout + ended.stderr)
        return ended.stdout


def fill(installation: Installation, scratch: str) -> None:
    """Plain, sealed, copied, held, verified, drilled, encrypted and failed backups, restores of three kinds.

    And, of two businesses, a first backup of each, what changed of one since, and one by hand.
    """
    home, run = installation.home, installation.run
    (home / "catalogs").mkdir(parents=True)
    for name, text in CATALOGS.items():
        (home / "catalogs" / f"{name}.yaml").write_text(text)
    (home / "keys").mkdir()
    recipient = run("key", "new", "--to", str(home / "keys" / "age.txt")).split()[-1]
    run("key", "seal", "--to", str(home / "keys" / "seal.pem"))
    sealed = {"BACKUP_SEAL_KEY_FILE": str(home / "keys" / "seal.pem")}
    encrypted = {"BACKUP_AGE_RECIPIENTS": recipient, "BACKUP_AGE_IDENTITY_FILE": str(home / "keys" / "age.txt")}

    run("backup", "--reason", "plain", more={"BACKUP_SECOND_STORE": ""})
    run("verify", "latest", "--level", "3")
    run("backup", "--table", "areas", "--table", "customers", "--reason", "of two tables", more=sealed)
    newest = json.loads(run("list", "--json"))[0]["backup_id"]
    run("hold", newest, "--reason", "kept for the audit", "--until", "2099-01-01")
    run("backup", "--reason", "sealed and copied", more=sealed)
    run("drill", "latest", more=sealed)
    run("backup", "--catalog", "vault", "--reason", "encrypted and sealed", more=sealed | encrypted)
    run("verify", "latest", "--catalog", "vault", "--level", "3", more=sealed | encrypted)
    unreachable = {
        "BACKUP_SOURCE_URL": "postgresql://nobody@127.0.0.1:9/shop",
        "BACKUP_CONNECT_TIMEOUT_S": "1",
        "BACKUP_ALERT_URLS": "json://127.0.0.1:9/hook",
    }
    run("backup", more=unreachable, code=1)

    run("restore", "latest", "--catalog", "shop", "--target-url", scratch, "--reason", "a rehearsal", more=sealed)
    with psycopg.connect(installation.source) as session:
        session.execute("UPDATE customers SET name = 'Nobody' WHERE id = 7")
    upsert = (
        "restore",
        "latest",
        "--catalog",
        "shop",
        "-T",
        "customers",
        "--to-source",
        "--mode",
        "upsert",
        "--confirm",
        "shop",
    )
    run(*upsert, "--reason", "a wrong UPDATE", more=sealed)
    run(
        "restore",
        "latest",
        "--catalog",
        "shop",
        "-T",
        "orders",
        "--to-source",
        "--mode",
        "replace",
        "--ask",
        "--reason",
        "asked",
        more=sealed,
    )
    run("businesses", "tick", "--catalog", "retail")
    with psycopg.connect(installation.retail) as session:
        session.execute(CHANGES.encode())
    run("businesses", "tick", "--catalog", "retail")
    run("businesses", "backup", "a", "--catalog", "retail", "--reason", "by hand")
    run("check")


def answers(installation: Installation) -> Mapping[str, object]:
    """What the commands print as JSON, by command."""
    asked = ("list --json", "audit --json --limit 1000", "alerts list --json", "restores list --json")
    return {command: json.loads(installation.run(*command.split())) for command in asked}


def main(name: str) -> None:
    """Make the files of one installation."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "server") as server:
        for database in ("shop", "retail", "ledger", "scratch"):
            server.ensure_database(database)
        urls = [server.url(database) for database in ("shop", "retail", "ledger")]
        installation = Installation(Path(folder) / "earlier", *urls)
        for url, tables in ((installation.source, SHOP), (installation.retail, RETAIL)):
            with psycopg.connect(url) as session:
                session.execute(tables.encode())
        fill(installation, server.url("scratch"))
        printed = json.dumps(answers(installation), indent=1, ensure_ascii=False)
        dump = [str(find_binaries().tool("pg_dump")), "--no-owner", "--inserts", server.url("ledger")]
        ledger = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
        ledger = "".join(line for line in ledger.splitlines(keepends=True) if not line.startswith("\\"))
        (HERE / f"{name}.sql").write_text(_anonymous(ledger, installation.home))
        (HERE / f"{name}.json").write_text(_anonymous(printed, installation.home) + "\n")
        with tarfile.open(HERE / f"{name}.tar.gz", "w:gz") as packed:
            for part in ("store", "second", "catalogs", "keys"):
                packed.add(installation.home / part, arcname=part, filter=_of_nobody)


def _anonymous(text: str, home: Path) -> str:
    """`text` without what is this machine's: folders, and its name."""
    text = text.replace(str(home), HOME).replace(str(find_binaries().bindir), "/usr/lib/postgresql/18/bin")
    host = socket.gethostname()
    return text.replace(f"'{host}'", "'earlier'").replace(f'"{host}"', '"earlier"')


def _of_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(sys.argv[1])
