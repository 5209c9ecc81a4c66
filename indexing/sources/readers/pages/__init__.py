"""PDF and pictures, with recognition of text."""
