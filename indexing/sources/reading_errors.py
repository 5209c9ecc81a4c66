"""The sentence about a file that cannot be read, for any error that a reader or its library raises."""

from __future__ import annotations

from indexing.sources.formats import file_format
from indexing.sources.read_options import ReadLimits
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import shortened


def reading_error(error: Exception, name: str, limits: ReadLimits | None = None) -> str:
    """Return the sentence about a file that cannot be read.

    Args:
        name: the file's name in citations.
        limits: what reading it might take.
    """
    if isinstance(error, SourceError):
        return str(error)
    if isinstance(error, MemoryError):
        found = (
            "more memory than there is" if limits is None else f"more than {limits.memory_bytes / 1e9:.1f} GB of memory"
        )
        return f"{name} takes {found} to read; leave it out with --exclude, or allow more with --file-memory."
    if isinstance(error, OSError) and error.errno is not None:  # others come from libraries: damaged data
        return f"{name} cannot be read: {error.strerror or error}."
    if isinstance(error, UnicodeDecodeError):
        return f"{name} cannot be read: {error}; it may have changed while it was read."
    reason = shortened((str(error).strip().splitlines() or [""])[0]).rstrip(".")
    kind = file_format(name).replace("_", " ")
    return (
        f"{name} cannot be read as {kind} ({type(error).__name__}{f': {reason}' if reason else ''}); mend it, or leave "
        "it out with --exclude."
    )
