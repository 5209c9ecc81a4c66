"""HTML, and books made of it."""
