"""Search by words: analysis, postings and BM25."""
