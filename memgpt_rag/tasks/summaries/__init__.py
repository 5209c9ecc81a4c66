"""Summaries: an outline of a document or a memory first, then each part, with the sources of each sentence."""
