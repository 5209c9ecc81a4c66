"""Recognises the text of pictures, in English and Chinese (extra `ocr`)."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from indexing.sources import memory_bounds
from memgpt_rag.errors import SourceError

if TYPE_CHECKING:
    import numpy as np

INSTALL = "pip install 'memgpt_rag[ocr]'"
MOST_PIXELS = 12_000_000  # of a picture; an A4 page at 200 dots per inch has 3.9 million
_MODELS = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
}
_LEAST_CONFIDENCE = 0.5  # what is below is more often a mark or a pattern than a word
_DOUBTFUL = 0.8
_ENGINE_BYTES = 3 * 2**29  # of address space: the models, and what a picture of the largest size takes
_VOTES = 7  # lines that tell which way up a picture is
_SURE = 0.9


class RecognisedLine(NamedTuple):
    """A line of text in a picture: its words, and its upper edge in pixels from the top."""

    text: str
    top: float


class Recognised(NamedTuple):
    """Lines of a picture in reading order.

    Attributes:
        doubtful: number of lines that may hold wrong letters.
        dropped: number of lines that were too uncertain to keep.
    """

    lines: list[RecognisedLine]
    doubtful: int
    dropped: int


def is_installed() -> bool:
    """Return whether the extra `ocr` is installed."""
    return all(importlib.util.find_spec(package) is not None for package in ("rapidocr", "onnxruntime"))


def recognise(picture: np.ndarray[Any, Any]) -> Recognised:
    """Recognise the text of a picture.

    Args:
        picture: height × width × 3 (blue, green, red), 8 bits.

    Raises:
        SourceError: the models are not where the package puts them.
    """
    engine = _engine()
    found = engine(picture, use_det=True, use_cls=False, use_rec=True)
    turns = 0 if found.boxes is None else _quarter_turns(engine, picture, found.boxes)
    if turns:
        import numpy as np

        picture = np.ascontiguousarray(np.rot90(picture, turns))
        found = engine(picture, use_det=True, use_cls=False, use_rec=True)
    if found.boxes is None or found.txts is None:
        return Recognised([], 0, 0)
    pieces = [
        _Piece(*_bounds(box), text.strip(), float(score))
        for box, text, score in zip(found.boxes, found.txts, found.scores)
        if text.strip()
    ]
    kept = [piece for piece in pieces if piece.score >= _LEAST_CONFIDENCE]
    doubtful = sum(piece.score < _DOUBTFUL for piece in kept)
    return Recognised(_reading_order(kept), doubtful, len(pieces) - len(kept))


def _quarter_turns(engine: Any, picture: np.ndarray[Any, Any], boxes: Any) -> int:
    """Return the number of quarter turns to the left after which most lines of a picture are upright."""
    import numpy as np

    bounds = [[max(int(edge), 0) for edge in _bounds(box)] for box in boxes]
    longest = sorted(bounds, key=lambda one: (one[2] - one[0]) + (one[3] - one[1]))[-_VOTES:]
    sideways = [bottom - top >= 1.5 * (right - left) for left, top, right, bottom in longest]
    votes = []
    for (left, top, right, bottom), turned in zip(longest, sideways):
        line = picture[top:bottom, left:right]
        if line.size:
            line = np.rot90(line) if turned else line
            # A long line, squeezed into the model's width, is often judged wrongly; a piece of it is not.
            line = np.ascontiguousarray(line[:, : 4 * line.shape[0]])
            ((label, score),) = engine(line, use_det=False, use_cls=True, use_rec=False).cls_res
            votes.append(label == "180" and score > _SURE)
    over = bool(votes) and 2 * sum(votes) > len(votes)
    if 2 * sum(sideways) > len(sideways):
        return 3 if over else 1
    return 2 if over else 0


class _Piece(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float
    text: str
    score: float


def _bounds(box: Any) -> tuple[float, float, float, float]:
    return float(box[:, 0].min()), float(box[:, 1].min()), float(box[:, 0].max()), float(box[:, 1].max())


def _reading_order(pieces: list[_Piece]) -> list[RecognisedLine]:
    """Order pieces by line, top to bottom, and join those of one line; columns are read one after the other."""
    lines = []
    for column in _columns(pieces):
        rows: list[list[_Piece]] = []
        for piece in sorted(column, key=lambda one: one.top + one.bottom):
            middle = (piece.top + piece.bottom) / 2
            if rows and rows[-1][0].top <= middle <= rows[-1][0].bottom:
                rows[-1].append(piece)
            else:
                rows.append([piece])
        for row in rows:
            text = "  ".join(piece.text for piece in sorted(row))
            lines.append(RecognisedLine(text, min(piece.top for piece in row)))
    return lines


def _columns(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Divide pieces at a strip near the middle that none crosses, if both sides are prose of some lines."""
    if len(pieces) < 16:
        return [pieces]
    left, right = min(piece.left for piece in pieces), max(piece.right for piece in pieces)
    for tenth in (5.0, 4.8, 5.2, 4.6, 5.4, 4.4, 5.6):
        middle = left + tenth / 10 * (right - left)
        sides = [[p for p in pieces if p.right <= middle], [p for p in pieces if p.left >= middle]]
        whole = len(sides[0]) + len(sides[1]) == len(pieces)
        widths = [sorted(p.right - p.left for p in side) for side in sides]
        full = all(len(w) >= 8 and w[len(w) // 2] >= 0.3 * (right - left) for w in widths)
        if whole and full:
            return sides
    return [pieces]


@functools.cache
def _engine() -> Any:
    """Load the models of the package; nothing is fetched, and nothing is printed.

    Raises:
        SourceError: a model is missing.
    """
    import rapidocr

    memory_bounds.allow(_ENGINE_BYTES)
    folder = Path(rapidocr.__file__).parent / "models"
    missing = [name for name in _MODELS.values() if not (folder / name).is_file()]
    if missing:
        raise SourceError(
            f"rapidocr has no model {', '.join(missing)}, which its release 3.10 holds; install it anew with {INSTALL}."
        )
    threads = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return rapidocr.RapidOCR(
        params={
            # With the files named, it does not look for them on a server.
            **{f"{part}.model_path": str(folder / name) for part, name in _MODELS.items()},
            "Global.log_level": "critical",
            "Global.text_score": 0.0,  # doubtful lines are counted here
            "Global.use_cls": False,  # it takes many a long line to be upside down; lines vote instead
            "Global.max_side_len": 8_000,  # letters are read from the whole picture,
            "Det.limit_type": "max",  # and lines are found in a smaller one, in half the memory
            "Det.limit_side_len": 1_472,
            "Rec.rec_batch_num": 1,  # six lines at a time are no faster on one core, and take more memory
            "EngineConfig.onnxruntime.intra_op_num_threads": max(int(threads), 1) if threads.isdigit() else 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
