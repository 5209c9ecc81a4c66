"""Small models that are trained from scratch to read memory."""
