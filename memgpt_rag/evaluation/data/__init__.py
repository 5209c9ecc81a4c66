"""Retrieval datasets and answered questions, read from the layouts that the field uses."""
