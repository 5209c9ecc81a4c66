"""Retrieval of entries for a question: search, fusion, reranking, diversity, adjacent passages."""
