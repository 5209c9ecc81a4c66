"""Bounds the memory of a reading process, by the size of its address space."""

from __future__ import annotations

import os
import resource
from pathlib import Path

allowed = 0  # bytes for models, in all


def limit(most: int) -> None:
    """Let this process take so many more bytes than it has, as far as the system's own limit admits."""
    if present := address_space():
        _set(present + most)


def allow(more: int) -> None:
    """Let this process take so many more bytes than it may, for a model; the limit stays where none was set."""
    global allowed
    allowed += more
    most, hard = resource.getrlimit(resource.RLIMIT_AS)
    if most not in (resource.RLIM_INFINITY, hard):
        _set(most + more)


def _set(most: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def address_space() -> int:
    """Return the size of this process's address space, in bytes; 0 where the system does not say."""
    return _pages(0)


def resident() -> int:
    """Return how much of the main memory this process holds, in bytes; 0 where the system does not say."""
    return _pages(1)


def _pages(field: int) -> int:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[field]
    except FileNotFoundError:  # macOS, which does not keep a limit of the address space either
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
