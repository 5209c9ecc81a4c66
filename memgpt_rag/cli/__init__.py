"""The command memgpt-rag."""
