"""Telling people: alerts through Apprise, or into the log when no channel is configured."""
