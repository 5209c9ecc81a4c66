"""Texts are classified by labelled examples: entries of a memory that the language model attends to."""
