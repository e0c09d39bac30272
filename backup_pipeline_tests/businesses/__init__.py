"""Businesses: what changed of each, their ticks, chains and restores."""
