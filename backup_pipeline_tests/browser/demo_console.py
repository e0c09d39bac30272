"""A demo system with one backup behind a console, whose Dagster does what is clicked, for the tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser
from pydantic import SecretStr

from backup_pipeline.core.access import Role
from backup_pipeline.core.ports import Store
from backup_pipeline.demo import DemoSystem, create_system
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.stores.directory import DirectoryStore
from backup_pipeline_tests.browser.windows import Windows
from backup_pipeline_tests.doubles.dagster import WorkingDagster
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.drill.rehearsing import backed_up
from backup_pipeline_tests.servers.ledgers import ScratchLedger
from backup_pipeline_tests.servers.postgres import temporary_database
from backup_pipeline_tests.systems.system import BackedUp, catalog_of
from backup_pipeline_tests.web.people import console_over
from backup_pipeline_tests.web.serving import served

PEOPLE = {"karim": Role.SUPER_ADMIN, "rahim": Role.ADMIN, "nila": Role.VIEWER}


@dataclass
class DemoConsole(Windows):
    """A console over a real backup of a demo, whose database is there, too."""

    system: BackedUp = field(kw_only=True)
    store: Store = field(kw_only=True)

    @property
    def ledger(self) -> ScratchLedger:
        ledger = self.system.backup.place.ledger
        assert isinstance(ledger, ScratchLedger)
        return ledger

    @property
    def backup_id(self) -> str:
        return self.system.backup.attempt.backup_id


@contextmanager
def open_demo(
    demo: DemoSystem, scale: float, server: EmbeddedPostgres, home: Path, browser: Callable[[], Browser]
) -> Iterator[DemoConsole]:
    """The demo at a scale, backed up once, and a console; the browser is started where the test is to run at all."""
    chromium = browser()
    catalog = catalog_of(demo.name)
    with temporary_database(server) as url:
        create_system(url, demo, scale=scale)
        store = DirectoryStore(home / "store")
        system = BackedUp(url, backed_up(url, home, catalog, store), home)
        ledger = system.backup.place.ledger
        assert isinstance(ledger, ScratchLedger)
        ports = partial(ports_for_test, store=store, spool=home / "work")
        console = console_over(
            ledger,
            home,
            ports=ports,
            ledger_url=SecretStr(ledger.url),
            store=(home / "store").as_uri(),
            source_urls={demo.name: SecretStr(url)},
        )
        launcher = WorkingDagster(catalogs={demo.name: catalog}, settings=console.settings, ports=console.ports)
        console.app.state.launcher = launcher
        for name, role in PEOPLE.items():
            console.user(name, role)
        with console.app.state.events, served(console) as address:
            made = DemoConsole(console, launcher, address, chromium, system=system, store=store)
            yield made
            launcher.finish()
            made.close()
