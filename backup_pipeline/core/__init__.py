"""What a backup is: pure values and rules. No I/O, no clock, no framework."""
