"""The inverted index file: for each term, its postings, the rows that contain it and how often, or with what weight.

    term_starts   I64  [terms + 1]    where each term begins; they are in the order of their UTF-8 bytes
    starts        I64  [terms + 1]    first posting of each term
    rows          I32  [postings]     rows that contain the term, in order
    lengths       I32  [rows]         terms of each entry
    counts        U16  [postings]     how often a row contains it, at most 65,535 times
    terms         U8   [bytes]        their UTF-8 bytes, concatenated

A lexical index stores counts and no scores: the weight of a term depends on all entries, and changes with every addition or
deletion. Sparse vectors have their components as terms, by their numbers, and these tensors in place of others:

    lengths       I32  [rows]         components of each vector that are not 0
    weights       F32  [postings]     the components, in place of counts
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.fingerprint import SparseVector
from memgpt_rag.io.system_errors import at_path
from memgpt_rag.memory.lexical.analysis import ANALYSIS, terms
from memgpt_rag.memory.storage import files, tensors
from memgpt_rag.passage import Passage


@dataclass(frozen=True)
class Kind:
    """What an inverted index says of a term in a row.

    Attributes:
        name: of the tensor.
        code, dtype: its type in the file, and in numpy.
        most: the largest number that it holds.
        length: what counts as the length of a row.
    """

    name: str
    code: str
    dtype: str
    most: float
    length: Callable[[Mapping[str, float]], float]


COUNTS = Kind("counts", "U16", "<u2", np.iinfo(np.uint16).max, lambda counts: sum(counts.values()))
WEIGHTS = Kind("weights", "F32", "<f4", float(np.finfo(np.float32).max), len)


def write_lexical_index(path: Path, blocks: Iterable[list[Passage]], analysis: str = ANALYSIS) -> files.StoredFile:
    """Write the lexical index of entries, given in row order.

    Args:
        analysis: name of the analysis, which the manifest of the memory says.
    """
    return _write(
        path, ([Counter(terms(passage.titled_text, analysis)) for passage in block] for block in blocks), COUNTS
    )


def write_sparse_index(path: Path, blocks: Iterable[Sequence[SparseVector]]) -> files.StoredFile:
    """Write the inverted index of sparse vectors, given in row order."""
    return _write(path, blocks, WEIGHTS)


def _write(path: Path, blocks: Iterable[Sequence[Mapping[str, float]]], kind: Kind) -> files.StoredFile:
    """Write an inverted index of what rows say of terms. Postings are spooled to disk, not held in memory."""
    posting = np.dtype([("term", "<i4"), ("row", "<i4"), ("value", kind.dtype)])
    numbers: dict[str, int] = {}
    lengths: list[int] = []
    containing = np.zeros(0, np.int64)
    with at_path(tempfile.gettempdir()), tempfile.TemporaryFile() as spool:
        for block in blocks:
            postings = []
            for values in block:
                row = len(lengths)
                lengths.append(int(kind.length(values)))
                postings += [
                    (numbers.setdefault(term, len(numbers)), row, min(value, kind.most))
                    for term, value in values.items()
                ]
            block_postings = np.array(postings, posting)
            spool.write(block_postings.tobytes())
            containing = np.bincount(block_postings["term"], minlength=len(numbers)) + np.pad(
                containing, (0, len(numbers) - len(containing))
            )
        ordered = sorted(numbers, key=str.encode)
        order = np.array([numbers[term] for term in ordered], np.int64)
        place_by_number = np.empty_like(order)
        place_by_number[order] = np.arange(len(order))
        starts = _starts(containing[order] if len(order) else order)
        rows, values_by_term = np.empty(starts[-1], "<i4"), np.empty(starts[-1], kind.dtype)
        following = starts[:-1].copy()
        spool.seek(0)
        while data := spool.read(posting.itemsize * 2**20):
            block_postings = np.frombuffer(data, posting)
            places = place_by_number[block_postings["term"]]
            by_term = np.argsort(places, kind="stable")
            found, first, times = np.unique(places[by_term], return_index=True, return_counts=True)
            target = np.repeat(following[found] - first, times) + np.arange(len(by_term))
            rows[target], values_by_term[target] = block_postings["row"][by_term], block_postings["value"][by_term]
            following[found] += times
    encoded = [term.encode() for term in ordered]
    arrays = {
        "terms": np.frombuffer(b"".join(encoded), np.uint8),
        "term_starts": _starts(np.array([len(term) for term in encoded], np.int64)),
        "starts": starts,
        "rows": rows,
        kind.name: values_by_term,
        "lengths": np.array(lengths, "<i4"),
    }
    regions = _regions(kind, len(arrays["terms"]), len(ordered), len(rows), len(lengths))
    with files.NewFile(path) as file:
        file.write(tensors.header(regions)[0])
        for name in regions:
            file.write(arrays[name])
        return file.described


class InvertedIndex:
    """A mapped inverted index file.

    Attributes:
        lengths: number of terms of the entry in each row.
    """

    def __init__(self, arrays: dict[str, np.ndarray], kind: Kind):
        self._terms, self._term_starts = arrays["terms"], arrays["term_starts"]
        self._starts, self._rows, self._values = arrays["starts"], arrays["rows"], arrays[kind.name]
        self.lengths: Int[np.ndarray, " rows"] = arrays["lengths"]

    @classmethod
    def open(cls, path: Path, rows: int, kind: Kind = COUNTS) -> InvertedIndex:
        """Map an inverted index file.

        Raises:
            MemoryFormatError: the file is no such index of `rows` entries.
        """
        fields, _ = tensors.read_header(path)
        try:
            text, terms, postings = (fields[name]["shape"][0] for name in ("terms", "starts", "rows"))
            arrays = tensors.map_regions(path, _regions(kind, int(text), int(terms) - 1, int(postings), rows))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise MemoryFormatError(f"{path} is no inverted index ({error}); make it again.") from error
        if arrays is None or not _plausible(arrays, rows, kind):
            raise MemoryFormatError(f"{path} does not hold the {kind.name} of {rows} entries; make it again.")
        return cls(arrays, kind)

    def __len__(self) -> int:
        """Return the number of terms."""
        return len(self._starts) - 1

    def __getitem__(self, place: int) -> bytes:
        first, end = self._term_starts[place : place + 2]
        return self._terms[first:end].tobytes()

    def postings(self, term: str) -> tuple[Int[np.ndarray, " n"], Shaped[np.ndarray, " n"]]:
        """Return the postings of a term: the rows that contain it, in order, and how often each does, or with what weight."""
        wanted = term.encode()
        place = bisect_left(self, wanted)
        if place == len(self) or self[place] != wanted:
            return np.zeros(0, np.int32), self._values[:0]
        first, end = self._starts[place : place + 2]
        return self._rows[first:end], self._values[first:end]

    def entry(self, row: int) -> dict[str, float]:
        """Return the terms of the entry in a row, and how often it contains each, or with what weight."""
        first, end = np.searchsorted(self._rows, [row, row + 1], sorter=self._by_row)
        places = self._by_row[first:end]
        terms = np.searchsorted(self._starts, places, side="right") - 1
        values = self._values[places].tolist()
        return {self[term].decode(): value for term, value in zip(terms.tolist(), values, strict=True)}

    @cached_property
    def _by_row(self) -> Int[np.ndarray, " postings"]:
        """Places of the postings, ordered by their rows."""
        return np.argsort(self._rows, kind="stable")


def index_bytes(kind: Kind, text: float, terms: float, postings: float, rows: float) -> float:
    """Return the size of an inverted index file without its header, from the bytes of its terms and the other counts."""
    return text + 2 * 8 * (terms + 1) + (4 + np.dtype(kind.dtype).itemsize) * postings + 4 * rows


def _plausible(arrays: dict[str, np.ndarray], rows: int, kind: Kind) -> bool:
    """Check that every position in the file points inside its array, and that weights are numbers, as many as the lengths say."""
    for starts, target in (("term_starts", "terms"), ("starts", "rows")):
        bounds = arrays[starts]
        if bounds[0] != 0 or bounds[-1] != len(arrays[target]) or (np.diff(bounds) < 0).any():
            return False
    holding, lengths = arrays["rows"], arrays["lengths"]
    return bool(
        len(arrays["starts"]) == len(arrays["term_starts"])
        and (not len(holding) or (holding.min() >= 0 and holding.max() < rows))
        and (not len(lengths) or lengths.min() >= 0)
        and (kind is COUNTS or np.array_equal(np.bincount(holding, minlength=rows), lengths))
        and np.isfinite(arrays[kind.name]).all()
    )


def _starts(lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n+1"]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")


def _regions(kind: Kind, text: int, terms: int, postings: int, rows: int) -> tensors.Regions:
    """Tensors of a file in their order: large numbers first, so that all are aligned."""
    return {
        "term_starts": ("I64", "<i8", (terms + 1,)),
        "starts": ("I64", "<i8", (terms + 1,)),
        "rows": ("I32", "<i4", (postings,)),
        "lengths": ("I32", "<i4", (rows,)),
        kind.name: (kind.code, kind.dtype, (postings,)),
        "terms": ("U8", "<u1", (text,)),
    }
