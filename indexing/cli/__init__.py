"""The command memgpt-index."""
