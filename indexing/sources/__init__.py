"""Sources of documents, and readers of their formats."""
