"""Drills: a backup restored into a scratch server, exported again, and compared."""
