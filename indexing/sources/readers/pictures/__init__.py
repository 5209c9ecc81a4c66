"""Pictures of documents: with their captions, and where they stand."""
