"""Tests of the catalogs and their reader."""
