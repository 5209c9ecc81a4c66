"""Caches of the user: what was computed once and need not be computed again. They save time and decide nothing."""
