"""pandas: read_sql in keyset chunks, Parquet and CSV."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import sqlalchemy as sa
from clock import measured  # type: ignore[import-not-found]  # runs from this folder, in an environment of its own

CHUNK = 100_000


def export(url: str, table: str, folder: Path) -> int:
    """Write `table` chunk by chunk; the rows written."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    last, rows = None, 0
    with engine.connect() as connection:
        for number in range(1_000_000):
            where = "" if last is None else "WHERE id > :last"
            query = sa.text(f"SELECT * FROM {table} {where} ORDER BY id LIMIT {CHUNK}")
            frame = pd.read_sql(query, connection, params={} if last is None else {"last": last})
            if frame.empty:
                return rows
            rows += len(frame)
            last = frame["id"].iloc[-1].item() if hasattr(frame["id"].iloc[-1], "item") else frame["id"].iloc[-1]
            frame.astype({"reference": str} if "reference" in frame else {}).to_parquet(folder / f"{number}.parquet")
            frame.to_csv(folder / "out.csv", mode="a", header=number == 0, index=False)
    raise RuntimeError(f"{table} has more than a million chunks")


if __name__ == "__main__":
    measured(lambda: export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
