"""Reports as facts and rows, and what draws them."""
