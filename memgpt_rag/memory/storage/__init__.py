"""The files of a memory: their layout, and how each is written, checked and mapped."""
