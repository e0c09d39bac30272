"""A backup of one business of a catalog: it has its own place, row and manifest, and what works on backups finds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.core.errors import NotFoundError
from backup_pipeline.core.ledger import Attempt
from backup_pipeline.core.rebuild import ChangeKind
from backup_pipeline.core.restore import Mode
from backup_pipeline.core.retention.prune import Versions
from backup_pipeline.core.scope import Scope
from backup_pipeline.core.verification import Level
from backup_pipeline.embedded import EmbeddedPostgres
from backup_pipeline.operations.browse import find_backup, stored_manifest
from backup_pipeline.operations.rebuild import RebuildRequest, plan_rebuild, rebuild
from backup_pipeline.operations.retention.plan import PruneRequest, plan_prune
from backup_pipeline.operations.verify import VerifyRequest, verify_attempt
from backup_pipeline_tests.actors import TESTER
from backup_pipeline_tests.doubles.ports import ports_for_test
from backup_pipeline_tests.operations.conftest import SHOP, SHOP_SQL
from backup_pipeline_tests.operations.made import Place, verify_ports
from backup_pipeline_tests.restore.bench import Bench, one
from backup_pipeline_tests.servers.ledgers import new_ledger
from backup_pipeline_tests.servers.postgres import temporary_database

OWN = Scope("shop", business="B-42")


@dataclass(frozen=True)
class Chain:
    """A store with a backup of the whole catalog, and a later one of one of its businesses."""

    place: Place
    whole: Attempt
    own: Attempt


@pytest.fixture(scope="module")
def chain(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with temporary_database(postgres_server) as url:
        with psycopg.connect(url) as session:
            session.execute(SHOP_SQL)
        place = Place(tmp_path_factory.mktemp("businesses"))
        yield Chain(place, place.back_up(url, SHOP), place.back_up(url, SHOP, business="B-42"))


def test_it_lies_in_the_place_of_its_business(chain: Chain) -> None:
    assert chain.own.scope == OWN
    folder = "shop/businesses/B-42"
    assert (chain.own.file_path or "").startswith(f"{folder}/backups/backup_date=")
    own = [stored.key for stored in chain.place.store.list(f"{folder}/")]
    assert {key.removeprefix(f"{folder}/").split("/")[0] for key in own} == {"backups", "tables", "schema"}


def test_each_scope_lists_its_own_and_the_latest_of_the_catalog_is_of_all_of_it(chain: Chain) -> None:
    ledger = chain.place.ledger
    assert ledger.list(scope=OWN) == [chain.own]
    assert ledger.list(scope=Scope("shop")) == [chain.whole]
    assert ledger.list() == [chain.own, chain.whole]
    assert find_backup("latest", ledger, catalog="shop") == chain.whole
    assert find_backup(chain.own.backup_id, ledger) == chain.own
    with pytest.raises(NotFoundError):
        find_backup(chain.own.backup_id, ledger, catalog="shop")


def test_its_manifest_says_whose_it_is_and_it_verifies(chain: Chain) -> None:
    manifest = stored_manifest(chain.own, chain.place.store)
    assert (manifest.catalog, manifest.business, manifest.scope) == ("shop", "B-42", OWN)
    ports = verify_ports(chain.place.store, ledger=chain.place.ledger)
    report = verify_attempt(chain.own, VerifyRequest(Level.REFERENCES), ports, actor=TESTER)
    assert (report.passed, report.level) == (True, Level.REFERENCES)


@pytest.mark.parametrize(
    ("scope", "added"), [(None, {"whole", "own"}), (Scope("shop"), {"whole", "own"}), (OWN, {"own"})]
)
def test_a_rebuild_finds_it_with_its_catalog_and_by_itself(chain: Chain, scope: Scope | None, added: set[str]) -> None:
    ports = ports_for_test(store=chain.place.store, ledger=new_ledger())
    request = RebuildRequest(TESTER, scope=scope, catalogs={"shop": SHOP})
    plan = plan_rebuild(request, ports)
    rebuild(plan, request, ports)
    wanted = {getattr(chain, name).backup_id: getattr(chain, name).scope for name in added}
    assert {change.kind for change in plan.changes} == {ChangeKind.ADD}
    assert {row.backup_id: row.scope for row in ports.ledger.list()} == wanted


def test_a_prune_of_the_catalog_does_not_look_at_its_businesses(chain: Chain) -> None:
    ports = ports_for_test(store=chain.place.store, ledger=chain.place.ledger)
    plan = plan_prune(PruneRequest(Scope("shop"), TESTER, versions=Versions.REMOVE), ports)
    assert [verdict.attempt for verdict in plan.verdicts] == [chain.whole]
    assert (plan.debris, plan.unfinished) == ((), ())


def test_it_is_restored_by_its_id(chain: Chain, fresh_database: str, tmp_path: Path) -> None:
    report = Bench(chain.place, chain.own, tmp_path).restore(fresh_database, Mode.NEW)
    assert report.backup_id == chain.own.backup_id
    assert one(fresh_database, "SELECT count(*) FROM goods") == 500
