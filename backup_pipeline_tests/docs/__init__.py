"""What the documentation says, compared with what is."""
