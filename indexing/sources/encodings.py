"""Decodes text files, and says where a file is not in its encoding."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from memgpt_rag.errors import SourceError
from memgpt_rag.limits import MOST_RECORD_CHARACTERS

_BLOCK = 2**20


def decoded_lines(path: Path, name: str, encoding: str, newline: str) -> Iterator[str]:
    """Yield the lines of a file with their line ends, one at a time; the whole file is validated before the first one.

    A line longer than `MOST_RECORD_CHARACTERS` comes in pieces of that length, so that no line fills the memory.

    Args:
        newline: line end, as for `open`.

    Raises:
        SourceError: as `decode` does.
    """
    if not _is_text(path, encoding):
        decode(path, name, encoding)  # raises an error with the position
    with path.open(encoding=encoding, newline=newline) as text:
        for number, line in enumerate(iter(partial(text.readline, MOST_RECORD_CHARACTERS), "")):
            yield line if number else line.removeprefix("\ufeff")


def decode(path: Path, name: str, encoding: str) -> str:
    """Read and decode the text of a file.

    Raises:
        SourceError: a binary file, or text in another encoding, with the offset of the first bad byte.
    """
    content = path.read_bytes()
    if b"\0" in content and not _is_wide(encoding):
        raise SourceError(
            f"{name} is a binary file (byte 0 at offset {content.index(0)}) in no format that is read here; leave it "
            f"out with --exclude '*{path.suffix or path.name}'."
        )
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{name} is not {encoding}: byte 0x{content[error.start]:02X} at offset {error.start}{_guess(content)}; name "
            "its encoding with --encoding, or leave it out with --exclude."
        ) from error


def _is_text(path: Path, encoding: str) -> bool:
    """Return whether a whole file is text in an encoding."""
    decoder, wide = codecs.getincrementaldecoder(encoding)(), _is_wide(encoding)
    with path.open("rb") as file:
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
                if b"\0" in block and not wide:
                    return False
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _is_wide(encoding: str) -> bool:
    """Return whether an encoding uses zero bytes in characters."""
    return encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))


def _guess(content: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(content[:65_536]).best()
    return "" if best is None else f"; it looks like {best.encoding}"
