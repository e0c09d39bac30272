"""Tests of `restore` and `restores`, in an installation of their own."""
