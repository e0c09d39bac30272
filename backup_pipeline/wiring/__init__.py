"""Wiring: settings become ports, so that operations can be called; the only place that knows every adapter."""
