"""The lexical index file: for each term, its postings, the rows that contain it and how often.

    term_starts   I64  [terms + 1]    where each term begins; they are in the order of their UTF-8 bytes
    starts        I64  [terms + 1]    first posting of each term
    rows          I32  [postings]     rows that contain the term, in order
    lengths       I32  [rows]         terms of each entry
    counts        U16  [postings]     how often a row contains it, at most 65,535 times
    terms         U8   [bytes]        their UTF-8 bytes, concatenated

The file stores counts and no scores: the weight of a term depends on all entries, and changes with every addition or deletion.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Int

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.io.system_errors import at_path
from memgpt_rag.memory.lexical.analysis import ANALYSIS, terms
from memgpt_rag.memory.storage import files, tensors
from memgpt_rag.passage import Passage

_POSTING = np.dtype([("term", "<i4"), ("row", "<i4"), ("count", "<u2")])
_MOST = np.iinfo(np.uint16).max


def write_lexical_index(path: Path, blocks: Iterable[list[Passage]], analysis: str = ANALYSIS) -> files.StoredFile:
    """Write the lexical index of entries, given in row order. Postings are spooled to disk, not held in memory.

    Args:
        analysis: name of the analysis, which the manifest of the memory says.
    """
    numbers: dict[str, int] = {}
    lengths: list[int] = []
    containing = np.zeros(0, np.int64)
    with at_path(tempfile.gettempdir()), tempfile.TemporaryFile() as spool:
        for block in blocks:
            postings = []
            for passage in block:
                counted = Counter(terms(passage.titled_text, analysis))
                row = len(lengths)
                lengths.append(counted.total())
                postings += [
                    (numbers.setdefault(term, len(numbers)), row, min(count, _MOST)) for term, count in counted.items()
                ]
            block_postings = np.array(postings, _POSTING)
            spool.write(block_postings.tobytes())
            containing = np.bincount(block_postings["term"], minlength=len(numbers)) + np.pad(
                containing, (0, len(numbers) - len(containing))
            )
        ordered = sorted(numbers, key=str.encode)
        order = np.array([numbers[term] for term in ordered], np.int64)
        place_by_number = np.empty_like(order)
        place_by_number[order] = np.arange(len(order))
        starts = _starts(containing[order] if len(order) else order)
        rows, counts = np.empty(starts[-1], "<i4"), np.empty(starts[-1], "<u2")
        following = starts[:-1].copy()
        spool.seek(0)
        while data := spool.read(_POSTING.itemsize * 2**20):
            block_postings = np.frombuffer(data, _POSTING)
            places = place_by_number[block_postings["term"]]
            by_term = np.argsort(places, kind="stable")
            found, first, times = np.unique(places[by_term], return_index=True, return_counts=True)
            target = np.repeat(following[found] - first, times) + np.arange(len(by_term))
            rows[target], counts[target] = block_postings["row"][by_term], block_postings["count"][by_term]
            following[found] += times
    encoded = [term.encode() for term in ordered]
    arrays = {
        "terms": np.frombuffer(b"".join(encoded), np.uint8),
        "term_starts": _starts(np.array([len(term) for term in encoded], np.int64)),
        "starts": starts,
        "rows": rows,
        "counts": counts,
        "lengths": np.array(lengths, "<i4"),
    }
    regions = _regions(len(arrays["terms"]), len(ordered), len(rows), len(lengths))
    with files.NewFile(path) as file:
        file.write(tensors.header(regions)[0])
        for name in regions:
            file.write(arrays[name])
        return file.described


class LexicalIndex:
    """A mapped lexical index file.

    Attributes:
        lengths: number of terms of the entry in each row.
    """

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._terms, self._term_starts = arrays["terms"], arrays["term_starts"]
        self._starts, self._rows, self._counts = arrays["starts"], arrays["rows"], arrays["counts"]
        self.lengths: Int[np.ndarray, " rows"] = arrays["lengths"]

    @classmethod
    def open(cls, path: Path, rows: int) -> LexicalIndex:
        """Map a lexical index file.

        Raises:
            MemoryFormatError: the file is not the lexical index of `rows` entries.
        """
        fields, _ = tensors.read_header(path)
        try:
            text, terms, postings = (fields[name]["shape"][0] for name in ("terms", "starts", "rows"))
            arrays = tensors.map_regions(path, _regions(int(text), int(terms) - 1, int(postings), rows))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise MemoryFormatError(f"{path} is no file of words ({error}); make it again.") from error
        if arrays is None or not _plausible(arrays, rows):
            raise MemoryFormatError(f"{path} does not hold the words of {rows} entries; make it again.")
        return cls(arrays)

    def __len__(self) -> int:
        """Return the number of terms."""
        return len(self._starts) - 1

    def __getitem__(self, place: int) -> bytes:
        first, end = self._term_starts[place : place + 2]
        return self._terms[first:end].tobytes()

    def postings(self, term: str) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return the postings of a term: the rows that contain it, in order, and how often each does."""
        wanted = term.encode()
        place = bisect_left(self, wanted)
        if place == len(self) or self[place] != wanted:
            return np.zeros(0, np.int32), np.zeros(0, np.uint16)
        first, end = self._starts[place : place + 2]
        return self._rows[first:end], self._counts[first:end]


def words_bytes(text: float, terms: float, postings: float, rows: float) -> float:
    """Return the size of a lexical index file without its header, from the bytes of its terms and the other counts."""
    return text + 2 * 8 * (terms + 1) + (4 + 2) * postings + 4 * rows


def _plausible(arrays: dict[str, np.ndarray], rows: int) -> bool:
    """Check that every position in the file points inside its array."""
    for starts, target in (("term_starts", "terms"), ("starts", "rows")):
        bounds = arrays[starts]
        if bounds[0] != 0 or bounds[-1] != len(arrays[target]) or (np.diff(bounds) < 0).any():
            return False
    holding, lengths = arrays["rows"], arrays["lengths"]
    return bool(
        len(arrays["starts"]) == len(arrays["term_starts"])
        and (not len(holding) or (holding.min() >= 0 and holding.max() < rows))
        and (not len(lengths) or lengths.min() >= 0)
    )


def _starts(lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n+1"]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")


def _regions(text: int, terms: int, postings: int, rows: int) -> tensors.Regions:
    """Tensors of a file in their order: large numbers first, so that all are aligned."""
    return {
        "term_starts": ("I64", "<i8", (terms + 1,)),
        "starts": ("I64", "<i8", (terms + 1,)),
        "rows": ("I32", "<i4", (postings,)),
        "lengths": ("I32", "<i4", (rows,)),
        "counts": ("U16", "<u2", (postings,)),
        "terms": ("U8", "<u1", (text,)),
    }
