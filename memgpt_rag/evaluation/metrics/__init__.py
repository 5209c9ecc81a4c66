"""Measures of retrieval and of answers, and tests of significance."""
