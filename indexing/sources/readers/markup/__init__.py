"""Markdown, reStructuredText and notebooks."""
