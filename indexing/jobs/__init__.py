"""What memgpt-index does: build, change, verify, export."""
