"""From a question to its entries: search, fusion, reranking, diversity, adjacent passages."""
