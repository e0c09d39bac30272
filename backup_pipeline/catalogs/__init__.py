"""The catalogs: YAML files that declare business systems, and their reader."""
