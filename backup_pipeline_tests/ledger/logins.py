"""Login roles for tests: real ones without superuser rights, named apart because roles belong to the whole cluster."""

from __future__ import annotations

import uuid

import psycopg
from psycopg import sql
from sqlalchemy import make_url

_PASSWORD = "not-a-secret"


def new_login(superuser_url: str, options: str = "", *, member_of: str | None = None) -> str:
    """The name of a new role that can log in; `options` are those of CREATE ROLE."""
    name = f"login_{uuid.uuid4().hex}"
    with psycopg.connect(superuser_url) as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER PASSWORD {} {}")
        connection.execute(create.format(sql.Identifier(name), sql.Literal(_PASSWORD), sql.SQL(options)))
        if member_of is not None:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(member_of), sql.Identifier(name)))
    return name


def as_login(superuser_url: str, name: str) -> str:
    """The URL of the same database for a role made by `new_login`."""
    url = make_url(superuser_url).set(drivername="postgresql", username=name, password=_PASSWORD)
    return url.render_as_string(hide_password=False)
