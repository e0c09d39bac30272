"""A restore: its requests, the one sequence that every door runs, the transfer of rows, the safety backup before it."""
