"""Search by vectors: exact, or through an approximate FAISS index."""
