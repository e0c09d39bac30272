"""What the ledger keeps of backups beside their rows: what each looked like, and how many ended how."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH, insert

from backup_pipeline.core.anomalies import Shape
from backup_pipeline.core.ledger import Status
from backup_pipeline.core.manifest import CommunicationEntry
from backup_pipeline.core.scope import Scope, parse_scope
from backup_pipeline.ledger.tables import backup_shapes, storable
from backup_pipeline.ledger.tables import backup_tallies as tallies


class SqlShapes:
    """The port `Shapes` over the table `backup_shapes`; safe from any thread.

    `transaction` begins one on the ledger, and raises every error as a LedgerError.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def put(self, shape: Shape) -> None:
        """Keep the shape of a backup, in place of one kept before."""
        document = storable(shape.model_dump(mode="json"))
        written = insert(backup_shapes).values(backup_id=shape.backup_id, shape=document)
        with self._transaction() as connection:
            connection.execute(written.on_conflict_do_update(index_elements=["backup_id"], set_={"shape": document}))

    def get(self, backup_id: str) -> Shape | None:
        """The shape of a backup; None where none was kept, or one that this version can not read."""
        query = select(backup_shapes.c.shape).where(backup_shapes.c.backup_id == backup_id)
        with self._transaction() as connection:
            document = connection.scalar(query)
        try:
            return Shape.model_validate(document) if document is not None else None
        except ValidationError:
            return None

    def communication(self, backup_ids: Collection[str]) -> Mapping[str, Sequence[CommunicationEntry]]:
        """What these backups say of communication, by id: of a shape nothing else is read."""
        path = cast("$.tables.*.communication[*]", JSONPATH)
        communication = func.jsonb_path_query_array(backup_shapes.c.shape, path, type_=JSONB)
        query = select(backup_shapes.c.backup_id, communication).where(
            backup_shapes.c.backup_id.in_(sorted(backup_ids))
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        entries = TypeAdapter(tuple[CommunicationEntry, ...])
        return {backup_id: entries.validate_python(document) for backup_id, document in rows if document}


class SqlTallies:
    """The port `Tallies` over the table `backup_tallies`; safe from any thread."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def ends(self) -> Mapping[tuple[Scope, Status], int]:
        """The attempts of each scope that ended in a status."""
        with self._transaction() as connection:
            rows = connection.execute(select(tallies)).mappings().all()
        return {(parse_scope(row["scope"]), Status(row["ended_as"])): row["attempts"] for row in rows}
