"""Texts are translated by sentence pairs: entries of a memory whose states the language model attends to."""
