"""`backup-pipeline key`: make a key that backups are encrypted to, or that seals them; see whether one opens one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import FromStore, OfCatalog, invoked_settings, opened, print_json, print_line
from backup_pipeline.core.errors import DecryptError
from backup_pipeline.core.restore import Which
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import note_console

if TYPE_CHECKING:
    from backup_pipeline.operations.download import KeyCheck
    from backup_pipeline.settings import Settings

with lazily():
    from backup_pipeline.formats import keys
    from backup_pipeline.operations import browse, download
    from backup_pipeline.wiring import addresses, stores


key_app = typer.Typer(
    name="key",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make and check the keys that encrypt and seal backups.",
)


@key_app.command()
def new(
    *,
    to: Annotated[Path, typer.Option(help="The file to make; only you may read it.")] = Path("backup-key.txt"),
) -> None:
    """Make a key: the private one in a file, its recipient printed.

    Give the recipient to the server that makes backups (BACKUP_AGE_RECIPIENTS): it encrypts, and can read nothing. The
    file is what reads them (BACKUP_AGE_IDENTITY_FILE): keep it elsewhere, and a copy of it where no fire reaches both.
    Without it the backups are lost; docs/encryption.md says more.

    Examples:

        backup-pipeline key new

        export BACKUP_AGE_RECIPIENTS="$(backup-pipeline key new --to owner-key.txt)"

    Exit codes: 0 made; 1 the file can not be written; 21 a file is there already: a key is never overwritten.
    """
    secret, recipient = keys.new_identity()
    download.write_key(to, secret, recipient, addresses.utc_now())
    print_line(recipient)
    note_console().print(f"The private key is in {to}. Whoever loses it loses the backups: keep a copy elsewhere.")


@key_app.command()
def seal(
    *,
    to: Annotated[Path, typer.Option(help="The file to make; only you may read it.")] = Path("backup-seal-key.pem"),
) -> None:
    """Make a key that seals manifests: the private one in a file, the public one printed.

    The machine that makes backups has the file (BACKUP_SEAL_KEY_FILE), and whoever can only write to the store can not
    forge a backup. Those who only read need the public key (BACKUP_SEAL_PUBLIC_KEYS): with it they check every
    manifest, and can seal none. Keep both out of the store; docs/integrity.md says more.

    Examples:

        backup-pipeline key seal --to /etc/backup/seal-key.pem

        export BACKUP_SEAL_PUBLIC_KEYS="$(backup-pipeline key seal)"

    Exit codes: 0 made; 1 the file can not be written; 21 a file is there already: a key is never overwritten.
    """
    secret, public = keys.new_seal_key()
    download.write_key(to, secret, public, addresses.utc_now())
    print_line(public)
    note_console().print(f"The private key is in {to}. Set BACKUP_SEAL_KEY_FILE to it where backups are made.")


@key_app.command()
def check(
    backup: Annotated[
        str | None, typer.Argument(help="A backup id, or `latest`. Without one only the key is read.", metavar="[ID]")
    ] = None,
    *,
    identity: Annotated[
        Path | None, typer.Option(help="The file with the private key; default: BACKUP_AGE_IDENTITY_FILE.")
    ] = None,
    catalog: OfCatalog = None,
    store: FromStore = "first",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the backup, its recipients, the key.")] = False,
) -> None:
    """See whether your private key opens a backup: its manifest is decrypted, and nothing of it shown.

    Without an id it prints the recipients of your key, for BACKUP_AGE_RECIPIENTS. That a key was used on a backup goes
    into the audit.

    Examples:

        backup-pipeline key check latest --identity /media/safe/owner-key.txt

        backup-pipeline key check --identity owner-key.txt

    Exit codes: 0 it opens it, or the backup is not encrypted; 2 the file holds no key; 10 there is no such backup; 12
    it does not open it, or no key is set.
    """
    settings = _with_identity(invoked_settings(), identity)
    if backup is None:
        _print_holders(settings)
        return
    checked = _checked(backup, settings, catalog, store)
    if as_json:
        print_json(checked)
        return
    if checked.opened_by is None:
        print_line(f"Backup {checked.backup_id} is not encrypted.")
        return
    print_line(f"The key of {checked.opened_by} opens backup {checked.backup_id}.")
    note_console().print(f"It is encrypted to: {', '.join(checked.recipients)}")


def _with_identity(settings: Settings, identity: Path | None) -> Settings:
    """The settings, with the key of a file that was named in place of any other."""
    named = {"age_identity_file": identity, "age_identity": None}
    return settings.model_copy(update=named) if identity is not None else settings


def _print_holders(settings: Settings) -> None:
    holders = stores.open_cipher(settings).holders
    if not holders:
        message = "No key is set here."
        raise DecryptError(message, do="Name its file with --identity, or set BACKUP_AGE_IDENTITY_FILE.")
    for name in holders:
        print_line(name)


def _checked(backup: str, settings: Settings, catalog: str | None, store: Which) -> KeyCheck:
    cipher = stores.open_cipher(settings)
    with opened(catalog) as installation:
        attempt = browse.find_backup(backup, installation.ledger, catalog=catalog)
        return download.check_key(attempt, installation.store(store), cipher, installation.audit())
