"""Word vectors as text: word2vec's files, whose first line counts them, and GloVe's, which begin with a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.errors import SourceError


def read_word_vectors(path: str | Path) -> Iterator[tuple[str, Float[np.ndarray, " dimension"]]]:
    """Each word of a file with its vector: a line is the word and its numbers, a space between any two.

    Raises:
        SourceError: no such file, a line that is no word with its numbers, or more or fewer lines than the first one says.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}); name a text file of word vectors.") from error
    with file:
        announced = dimension = count = 0
        for number, line in enumerate(file, 1):
            fields = _decoded(line, path, number).rstrip(" \r\n").split(" ")
            if number == 1 and len(fields) == 2 and all(field.isdecimal() for field in fields):
                announced, dimension = map(int, fields)
                continue
            dimension = dimension or len(fields) - 1
            vector = _numbers(fields[-dimension:]) if len(fields) > dimension > 0 else None
            if vector is None:
                raise SourceError(
                    f"{path}, line {number}: expected a word and {dimension or 'its'} numbers, with a space between any two; "
                    "mend the line, or drop it."
                )
            yield " ".join(fields[:-dimension]), vector  # some words of GloVe have spaces in them
            count += 1
    if announced and count != announced:
        raise SourceError(
            f"{path} holds {count} word vectors, and its first line says {announced}; it is not whole, get it again."
        )


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}, line {number}: not UTF-8 text; expected word vectors as text, as word2vec and GloVe write them."
        ) from error


def _numbers(fields: list[str]) -> Float[np.ndarray, " dimension"] | None:
    try:
        vector = np.array(fields, dtype=np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None
