"""Pictures with their texts: read from a file of pairs, and as entries of a memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.text_source import json_lines, text_field
from memgpt_rag.io.pictures import read_picture
from memgpt_rag.io.printable import shortened
from memgpt_rag.passage import Passage

_EXPECTED = 'an object with an "image", a path beside the file, and a "text", or a list of texts'


@dataclass(frozen=True)
class Pair:
    """A picture and its texts.

    Attributes:
        image: its path as it was given, relative to the folder of the file of pairs.
        path: where it lies.
        texts: in any language, the first one foremost.
        where: its line, for messages.
    """

    image: str
    path: Path
    texts: tuple[str, ...]
    where: str

    def read(self) -> bytes:
        """Return the picture in the form in which a memory keeps it.

        Raises:
            SourceError: it cannot be read, is no picture, or too large a one; the message begins with the line.
        """
        return read_picture(self.path, f"{self.where}: {self.image}")

    def entry(self) -> tuple[Passage, bytes]:
        """Return the entry of a memory: the texts as words of the picture; raises as `read`."""
        words = "\n".join(self.texts)
        return Passage(f"{self.image}#picture", words, "", self.image, "", "picture", 1, 1, 0, len(words)), self.read()


def read_pairs(path: str | Path) -> list[Pair]:
    """Read a file of pairs: JSON Lines such as {"image": "png/apple.png", "text": ["a red apple", "红苹果"]}.

    Raises:
        SourceError: the file cannot be read or holds no pair; a line is no pair, names a picture again, or one outside the folder.
    """
    path = Path(path)
    folder = path.resolve().parent
    pairs: dict[str, Pair] = {}
    for where, record in json_lines(path, _EXPECTED):
        image = text_field(record, "image", where, _EXPECTED)
        if image in pairs:
            raise SourceError(
                f"{where}: {shortened(image)} is in {pairs[image].where} already; give all texts of a picture in one list."
            )
        pairs[image] = Pair(image, _inside(folder, image, where), _texts(record, where), where)
    if not pairs:
        raise SourceError(f"{path.name} holds no pair; expected {_EXPECTED} in each line.")
    return list(pairs.values())


def pair_entries(pairs: Sequence[Pair]) -> Iterator[tuple[Passage, bytes]]:
    """Yield the entries of pairs, one picture read at a time; raises as `Pair.read`."""
    return (pair.entry() for pair in pairs)


def _texts(record: dict[str, Any], where: str) -> tuple[str, ...]:
    value = record.get("text")
    texts = value if isinstance(value, list) and value else [value]
    return tuple(text_field({"text": text}, "text", where, _EXPECTED) for text in texts)


def _inside(folder: Path, image: str, where: str) -> Path:
    """Return where a picture lies, which must be in the folder, links followed."""
    name = PurePosixPath(image)
    found = (folder / name).resolve()
    if name.is_absolute() or folder not in found.parents:
        raise SourceError(
            f"{where}: {shortened(image)} lies outside of the folder of the file; put pictures beside it, and name them relative to it."
        )
    return found
