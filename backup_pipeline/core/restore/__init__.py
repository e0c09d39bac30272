"""The rules of a restore: its request and plan, what of the dump is needed, columns, references, recovery by hand."""
