"""The jobs of memgpt-index: build, change, verify and export a memory."""
