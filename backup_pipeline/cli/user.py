"""`backup-pipeline user`: who may sign in to the console, and what each may do there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from backup_pipeline.cli.options import invoked_settings, opened, print_json, print_line
from backup_pipeline.core.access import NewUser, Role, UserChange
from backup_pipeline.core.errors import UsageError
from backup_pipeline.core.scope import Actor
from backup_pipeline.lazy import lazily
from backup_pipeline.presentation.terminal import draw, note_console

if TYPE_CHECKING:
    from backup_pipeline.operations.access import AccessPorts

with lazily():
    from backup_pipeline.operations import access
    from backup_pipeline.operations.access import provider, users
    from backup_pipeline.operations.access import second_factor as second_factors
    from backup_pipeline.presentation import people
    from backup_pipeline.wiring import access as wiring_access


user_app = typer.Typer(
    name="user",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Who may sign in to the console, and what each may do there. Whoever may write to the ledger may run these.",
)

Name = Annotated[str, typer.Argument(help="The user's name, such as an e-mail address; case does not matter.")]
Businesses = Annotated[
    list[str] | None, typer.Option("--business", help="Of a business_admin: a business; may be given several times.")
]
MayRun = Annotated[bool | None, typer.Option(help="Of a viewer: whether to run backups is allowed.")]
MayDownload = Annotated[bool | None, typer.Option(help="Of a viewer: whether to download is allowed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def _opened() -> Iterator[tuple[AccessPorts, Actor]]:
    """Users and sessions as the console itself sees them, and who asks."""
    with opened() as installation:
        yield (
            wiring_access.console_ports(installation.settings, installation.ledger, installation.clock),
            installation.actor,
        )


@user_app.command()
def add(
    name: Name,
    *,
    role: Annotated[Role, typer.Option(help="What the user is.")] = Role.VIEWER,
    business: Businesses = None,
    may_run: MayRun = None,
    may_download: MayDownload = None,
    invite: Annotated[
        bool, typer.Option("--invite", help="Print a link with which the user chooses the password, once in 48 hours.")
    ] = False,
) -> None:
    """Add a user. The password is asked for, or read as a line of standard input; it is never an argument.

    A **viewer** sees all, and with a switch runs backups or downloads. A **business_admin** sees, runs, downloads
    and asks for restores of the businesses that are named. An **admin** does that for all, and holds, verifies, drills
    and handles alerts. A **super_admin** approves, deletes, and manages users and settings, too.

    Examples:

        backup-pipeline user add karim@example.com --role super_admin

        backup-pipeline user add rahim@example.com --role business_admin --business 42 --invite

        pass show backup/karim | backup-pipeline user add karim@example.com --role admin

    Exit codes: 0 added; 1 the ledger can not be written; 2 wrong request, the name is taken, or the password is short
    or soon guessed.
    """
    user = NewUser(name, role, bool(may_run), bool(may_download), tuple(business or ()))
    password = None if invite else _password(f"Password of {name}")
    with _opened() as (ports, actor):
        added = users.create_user(user, ports, actor, password)
        token = users.invite(added, ports, actor) if invite else None
    note_console().print(f"Added {added.name}, {added.role.in_words}.", markup=False)
    if token is not None:
        print_line(wiring_access.welcome_url(invoked_settings(), token))


@user_app.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """List the users: role, what each may do, second factor, last login.

    Examples:

        backup-pipeline user list

        backup-pipeline user list --json | jq -r '.[] | select(.second_factor | not) | .name'

    Exit codes: 0 listed; 1 the ledger can not be read; 2 wrong request.
    """
    with _opened() as (ports, _):
        known, now = ports.access.users.list(), ports.clock()
    if as_json:
        print_json(known)
    else:
        draw(people.users_document(known, now))


@user_app.command("set")
def set_user(
    name: Name,
    *,
    role: Annotated[Role | None, typer.Option(help="What the user is from now on.")] = None,
    business: Businesses = None,
    may_run: MayRun = None,
    may_download: MayDownload = None,
    enable: Annotated[bool, typer.Option("--enable", help="Let a disabled user sign in again.")] = False,
    no_second_factor: Annotated[
        bool, typer.Option("--no-second-factor", help="Ask for no second factor any more: the telephone is lost.")
    ] = False,
) -> None:
    """Change what a user is and may. Who gets another role is signed out everywhere.

    One super_admin who can sign in always stays.

    Examples:

        backup-pipeline user set karim@example.com --role super_admin

        backup-pipeline user set rahim@example.com --may-run --no-may-download

    Exit codes: 0 changed; 1 the ledger can not be written; 2 wrong request; 10 there is no such user; 21 no super_admin
    would be left.
    """
    businesses = tuple(business) if business else None
    change = UserChange(role, may_run, may_download, businesses, disabled=False if enable else None)
    if change == UserChange() and not no_second_factor:
        message = "Nothing is to be changed."
        raise UsageError(message, do="Name what is to be different; `--help` lists the options.")
    with _opened() as (ports, actor):
        user = users.user_named(name, ports)
        if no_second_factor:
            second_factors.take_away(user, ports, actor)
        after = users.set_user(user, change, ports, actor) if change != UserChange() else user
    note_console().print(f"{after.name}: {after.role.in_words}, {people.rights_in_words(after)}.", markup=False)


@user_app.command()
def password(
    name: Name,
    *,
    invite: Annotated[
        bool, typer.Option("--invite", help="Print a link with which the user chooses it, once in 48 hours.")
    ] = False,
) -> None:
    """Give a user another password; who is signed in as the user is signed out. It is asked for, or read from stdin.

    Examples:

        backup-pipeline user password karim@example.com

        backup-pipeline user password karim@example.com --invite

    Exit codes: 0 done; 1 the ledger can not be written; 2 wrong request, or the password is short or soon guessed; 10
    there is no such user.
    """
    chosen = None if invite else _password(f"New password of {name}")
    with _opened() as (ports, actor):
        user = users.user_named(name, ports)
        if chosen is not None:
            users.set_password(user, chosen, ports, actor)
            note_console().print(f"{user.name} has another password.", markup=False)
        else:
            print_line(wiring_access.welcome_url(invoked_settings(), users.invite(user, ports, actor)))


@user_app.command()
def disable(name: Name) -> None:
    """Let a user sign in no more, and sign the user out at once. What the user did stays in the audit.

    `user set NAME --enable` undoes it. One super_admin who can sign in always stays.

    Examples:

        backup-pipeline user disable rahim@example.com

    Exit codes: 0 disabled; 1 the ledger can not be written; 2 wrong request; 10 there is no such user; 21 no
    super_admin would be left.
    """
    with _opened() as (ports, actor):
        after = users.set_user(users.user_named(name, ports), UserChange(disabled=True), ports, actor)
    note_console().print(f"{after.name} can not sign in any more.", markup=False)


@user_app.command()
def sessions(
    name: Name,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Sign the user out everywhere.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a user is signed in, or sign the user out everywhere.

    Examples:

        backup-pipeline user sessions karim@example.com

        backup-pipeline user sessions karim@example.com --revoke

    Exit codes: 0 shown, or signed out; 1 the ledger can not be read; 2 wrong request; 10 there is no such user.
    """
    with _opened() as (ports, actor):
        user = users.user_named(name, ports)
        if revoke:
            ended = users.revoke_sessions(user, ports, actor)
            note_console().print(f"{user.name} was signed out of {ended} sessions.", markup=False)
            return
        now = ports.clock()
        alive = [session for session in ports.access.sessions.list(user.number) if session.is_alive(now)]
    if as_json:
        print_json(alive)
    else:
        draw(people.sessions_document(alive, now))


@user_app.command()
def link(
    name: Name,
    subject: Annotated[str, typer.Argument(help="Who the user is at the provider: its issuer, a bar, its own name.")],
) -> None:
    """Say who a user is at the provider of identities (BACKUP_OIDC_ISSUER), so that signing in there is enough.

    Whoever signs in there for the first time gets a user by that; only a name that is taken already needs this.

    Examples:

        backup-pipeline user link karim@example.com 'https://login.example.com|8f3a2c'

    Exit codes: 0 linked; 1 the ledger can not be written; 2 wrong request; 10 there is no such user.
    """
    with _opened() as (ports, actor):
        user = users.user_named(name, ports)
        provider.link_user(user, subject, ports, actor)
    note_console().print(f"{user.name} is {subject}.", markup=False)


@user_app.command()
def policy(
    *,
    second_factor: Annotated[
        list[Role] | None,
        typer.Option(help="A role whose people have to have a second factor; may be given several times."),
    ] = None,
    no_second_factor: Annotated[
        bool, typer.Option("--no-second-factor", help="No role has to have a second factor.")
    ] = False,
    local_login: Annotated[
        bool | None, typer.Option(help="Whether people sign in with a name and a password, besides a provider.")
    ] = None,
) -> None:
    """Show or change how people have to sign in: for whom a second factor is compulsory, and whether by password.

    Where local login is off, people sign in at the provider of identities (BACKUP_OIDC_ISSUER), and nowhere else. This
    command works without any of it.

    Examples:

        backup-pipeline user policy

        backup-pipeline user policy --second-factor super_admin --second-factor admin

        backup-pipeline user policy --no-local-login

    Exit codes: 0 shown, or changed; 1 the ledger can not be written; 2 wrong request.
    """
    roles = [] if no_second_factor else second_factor
    with _opened() as (ports, actor):
        access.set_policy(ports, actor, second_factor=roles, local_login=local_login)
        required = sorted(role.in_words for role in access.second_factor_roles(ports))
        by_password = access.allows_local_login(ports)
    print_line(
        f"Second factor: compulsory for {', '.join(required)}." if required else "Second factor: as people like."
    )
    print_line(f"Name and password: {'allowed' if by_password else 'off: people sign in at the provider'}.")


def _password(prompt: str) -> str:
    """From the terminal, twice and unseen, or a line of standard input."""
    if sys.stdin.isatty():
        typed: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True)
        return typed
    return sys.stdin.readline().rstrip("\r\n")
