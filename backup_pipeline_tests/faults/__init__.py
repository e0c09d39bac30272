"""Faults on purpose: a proxy that makes them, and backups that meet them."""
