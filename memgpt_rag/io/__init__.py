"""The machine, the terminal and files that others wrote, each behind one module."""
