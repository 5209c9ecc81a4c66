"""Bounds on what compressed files inflate to: a file of some megabytes can hold terabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from memgpt_rag.errors import SourceError

# An archive, with all archives in it, may inflate to MOST_BYTES, or to MOST_RATIO times its size if that is more.
MOST_BYTES = 2**30
MOST_RATIO = 100
MOST_MEMBERS = 200_000
# Number of archives and mails that a file may lie in; deeper ones are not opened.
MOST_DEPTH = 2


class InflationLimitError(SourceError):
    """A compressed file inflates to more than is read."""


class Readable(Protocol):
    """A binary stream to read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


class Allowance:
    """What a compressed file, and the compressed files in it, may still inflate to.

    Args:
        path: the outermost file.
        name: its name in errors.
    """

    def __init__(self, path: Path, name: str):
        self._name = name
        self._most = self._bytes = max(MOST_BYTES, MOST_RATIO * path.stat().st_size)
        self._members = MOST_MEMBERS

    def take_bytes(self, number: int) -> None:
        """Count inflated bytes.

        Raises:
            InflationLimitError: there were too many.
        """
        self._bytes -= number
        if self._bytes < 0:
            raise InflationLimitError(
                f"{self._name} inflates to more than {self._most / 2**30:.1f} GiB, the most that is read of it; if it is "
                "no mistake, unpack it and name the folder."
            )

    def take_member(self) -> None:
        """Count a member of an archive; raises InflationLimitError if there were too many."""
        self._members -= 1
        if self._members < 0:
            raise InflationLimitError(
                f"{self._name} holds more than {MOST_MEMBERS:,} files, the most that are read of an archive; unpack it "
                "and name the folder."
            )


class Counted:
    """A stream whose bytes are counted by an allowance as they are read."""

    def __init__(self, stream: Readable, allowance: Allowance):
        self._stream, self._allowance = stream, allowance

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; raises InflationLimitError where they are too many."""
        block = self._stream.read(size)
        self._allowance.take_bytes(len(block))
        return block
