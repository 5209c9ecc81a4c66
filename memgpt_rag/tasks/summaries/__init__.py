"""Summaries: documents and memories are told of part by part, with an outline first and the sources of each sentence."""
