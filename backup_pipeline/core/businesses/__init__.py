"""Businesses of one database, each backed up by itself every few minutes: what changed of which, and what is due."""
