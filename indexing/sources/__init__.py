"""Where documents come from, and how each format is read."""
