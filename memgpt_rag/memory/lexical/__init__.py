"""Search by words: analysis, postings and BM25. Sparse vectors have the same postings."""
