"""Evaluation of retrieval and of answers on questions with known relevant documents or known answers."""
