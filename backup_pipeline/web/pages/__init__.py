"""The pages, a router a subject."""

from __future__ import annotations

from fastapi import APIRouter

from backup_pipeline.web.pages import (
    account,
    alerts,
    analytics,
    audit,
    backups,
    businesses,
    downloads,
    drills,
    history,
    keys,
    legacy,
    login,
    overview,
    payments,
    provider,
    requests,
    restore,
    retention,
    rows,
    runs,
    settings,
    users,
    webhooks,
)

ROUTERS: tuple[APIRouter, ...] = (
    account.router,
    alerts.router,
    analytics.router,
    audit.router,
    backups.router,
    businesses.router,
    downloads.router,
    drills.router,
    history.router,
    keys.router,
    legacy.router,
    login.router,
    overview.router,
    payments.router,
    provider.router,
    requests.router,
    restore.router,
    retention.router,
    rows.router,
    runs.router,
    settings.router,
    users.router,
    webhooks.router,
)
"""Every page of the console; a new subject is added here, and to `rendering.NAV` where people are to find it."""
