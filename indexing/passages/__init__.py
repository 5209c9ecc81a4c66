"""From documents to passages: splitting, and duplicates."""
