"""Tests of the whole, as a person starts it: processes, the UI's API, signals."""
