"""Stores of other programs, read as entries: one file a store, one common form."""
