"""The pages, a router a subject."""

from __future__ import annotations

from fastapi import APIRouter

from backup_pipeline.web.pages import backups, history, login, overview, requests

ROUTERS: tuple[APIRouter, ...] = (
    backups.router,
    history.router,
    login.router,
    overview.router,
    requests.router,
)
"""Every page of the console; a new subject is added here, and to `rendering.NAV` where people are to find it."""
