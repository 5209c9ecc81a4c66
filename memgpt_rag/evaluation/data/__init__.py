"""Retrieval datasets and answered questions in the layouts of BEIR, TREC and SQuAD."""
