"""Tests of packages and of the files in deploy/."""
