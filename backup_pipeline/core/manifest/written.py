"""What all parts of a document have in common: the version of their format, and that unknown fields are ignored."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

FORMAT_VERSION = "1.4"


class Written(BaseModel):
    """Readers ignore fields they do not know: a newer minor version may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")
