"""What stands in for the real thing in tests, kept to the contract of the port it stands in for."""
