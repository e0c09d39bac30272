"""The operations, over the memory's ports and a real source."""
