"""`restore` and `restores`: their options, and what a person sees."""
