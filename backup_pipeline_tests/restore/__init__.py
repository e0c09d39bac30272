"""Tests of restoring, with real servers."""
