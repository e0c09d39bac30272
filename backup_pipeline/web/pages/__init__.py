"""The pages, a router a subject."""

from __future__ import annotations

from fastapi import APIRouter

from backup_pipeline.web.pages import (
    account,
    audit,
    backups,
    downloads,
    history,
    login,
    overview,
    provider,
    requests,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    account.router,
    audit.router,
    backups.router,
    downloads.router,
    history.router,
    login.router,
    overview.router,
    provider.router,
    requests.router,
    users.router,
)
"""Every page of the console; a new subject is added here, and to `rendering.NAV` where people are to find it."""
