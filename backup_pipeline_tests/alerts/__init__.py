"""Tests of the alerts, against real servers on the loopback."""
