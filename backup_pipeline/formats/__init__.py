"""Arrow in, files out: Parquet, CSV sheets, the ZIP bundle, and renderings made from a bundle on demand."""
