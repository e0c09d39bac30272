"""The soak: random backups, kills, faults, prunes, verifications and restores, and a model that knows what is true."""
