"""The compiled loops over rows, in C: `setup.py` builds them, and nothing else in the package needs a compiler."""
