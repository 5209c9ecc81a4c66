"""Encoders of texts into vectors, their inference backends and precisions."""
