"""The one family of errors that a user can mend. Each message is a sentence: what was found, what was expected, where,
and what to do. Wrong arguments to a function stay ValueError.
"""

from __future__ import annotations


class MemgptRagError(Exception):
    """Base of all errors below; command line and server print its message and nothing else."""


class SourceError(MemgptRagError):
    """A document, or a record in one, cannot be read."""


class MemoryFormatError(MemgptRagError):
    """A folder is not a memory, is damaged, or is of a version that this release does not know."""


class MismatchError(MemgptRagError):
    """Two things that must match do not, such as a memory and the encoder that is asked to search it."""


class BusyError(MemgptRagError):
    """Another job is writing where this one is to write."""


class ModelError(MemgptRagError):
    """A model cannot be found, loaded or given a memory."""


class ClusterError(MemgptRagError):
    """A cluster cannot be reached, or one of its workers failed."""


class MissingPackageError(MemgptRagError):
    """An optional package is not installed; the message is the command that installs it."""

    def __init__(self, package: str, what_for: str, install: str):
        super().__init__(f"{what_for} needs the package {package}, which is not installed; run: {install}")


def first_line(error: BaseException | str, most: int = 200) -> str:
    """What an error of a library says first, to be put into a sentence: one line of printable characters, without its full stop."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = "".join(one if one.isprintable() else " " for one in lines[0]) if lines else type(error).__name__
    said = said.strip().rstrip(".")
    return said if len(said) <= most else f"{said[:most]}…"
