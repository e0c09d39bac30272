"""Real servers for the tests, started on loopback and ended with them."""
