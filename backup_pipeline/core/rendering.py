"""Renderings: what a bundle is turned into on demand, for people and programs (docs/format.md)."""

from __future__ import annotations

from enum import StrEnum


class Rendering(StrEnum):
    """A form of a whole backup as one file. None of them is the restore copy: that is the Parquet of the bundle."""

    XLSX = "xlsx"
    """The sheets as one Excel workbook."""
    CSV = "csv"
    """The sheets as one CSV file, each under a heading."""
    JSON = "json"
    """The manifest, and the exact rows of every table."""

    def file_name(self, bundle_name: str) -> str:
        """What the file is called: as its bundle, with the ending of the form."""
        return f"{bundle_name.removesuffix('.zip')}.{self}"
