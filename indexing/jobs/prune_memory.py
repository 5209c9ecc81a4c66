"""Pruning by use: entries to which answers attend least leave a memory, and the loss is measured on answers that were not counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from memgpt_rag.errors import SourceError
from memgpt_rag.io.json_file import number, parse_json
from memgpt_rag.memory import Memory

_EXPECTED = "an answer as memgpt-rag ask --json prints it"

Uses = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Pruning:
    """What is to be deleted, and what that loses.

    Attributes:
        rows: of the entries that are to be deleted, in ascending order.
        used: number of entries that any answer used.
        unknown: number of ids in the answers that the memory has no entry for.
        lost_share: share of the attention to memory that went to deleted entries, where one half of the answers chose them and the
            other half is counted; the mean of both halves. None for fewer than two answers.
        lost_first: share of the answers, counted in the same way, whose most attended entry was deleted.
    """

    rows: Int[np.ndarray, " n"]
    used: int
    unknown: int
    lost_share: float | None
    lost_first: float | None


def read_uses(path: Path) -> list[dict[str, float]]:
    """Read what each answer used: id of an entry → its share of the attention, in equal parts where that is not known.

    Entries that were joined, as with --adjacent, have equal parts of their share.

    Args:
        path: answers as `memgpt-rag ask --json` prints them, one a line. Those that cite nothing are left out.

    Raises:
        SourceError: the file cannot be read, a line is no answer, or no answer cites an entry.
    """
    uses = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; name a file that is there.") from error
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            citations = parse_json(line)["citations"]
            if citations:
                uses.append(_use(citations))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise SourceError(f"{path.name}, line {place}: {reason}; expected {_EXPECTED}.") from error
    if not uses:
        raise SourceError(f"{path.name} has no answer that cites an entry; expected {_EXPECTED} a line.")
    return uses


def plan_pruning(memory: Memory, uses: Uses, keep: float) -> Pruning:
    """Choose the entries to delete: those with the smallest share of the attention of all answers, later rows first.

    Args:
        keep: share of the entries to keep, above 0 and up to 1; at least one is kept.

    Raises:
        ValueError: `keep` is out of its range.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep:g}; expected a share of the entries above 0 and up to 1.")
    ids = sorted({id for use in uses for id in use})
    rows = memory.rows(pc.field("id").isin(pa.array(ids, pa.string())))
    row_ids = [passage.id for passage in memory.passages(rows)]
    known, every = set(row_ids), memory.rows()
    kept = max(1, round(keep * len(every)))

    def deleted(uses: Uses) -> Int[np.ndarray, " n"]:
        total: Counter[str] = Counter()
        for use in uses:
            total.update(use)
        share = np.zeros(len(every))
        share[np.searchsorted(every, rows)] = [total[id] for id in row_ids]
        return np.sort(every[np.argsort(-share, kind="stable")[kept:]])

    losses = []
    if len(uses) > 1:
        for chosen, counted in ((uses[::2], uses[1::2]), (uses[1::2], uses[::2])):
            gone = set(np.array(row_ids, object)[np.isin(rows, deleted(chosen))])
            losses.append(_losses(counted, gone, known))
    share, first = np.mean(losses, axis=0).tolist() if losses else (None, None)
    return Pruning(deleted(uses), len(known), len(ids) - len(known), share, first)


def _losses(uses: Uses, gone: set[str], known: set[str]) -> tuple[float, float]:
    """Return the shares of attention, and of most attended entries, that went to entries that are gone."""
    present = [{id: share for id, share in use.items() if id in known} for use in uses]
    total = sum(sum(use.values()) for use in present)
    lost = sum(share for use in present for id, share in use.items() if id in gone)
    firsts = [max(use, key=lambda id: use[id]) for use in present if use]
    return lost / total if total else 0.0, sum(first in gone for first in firsts) / max(1, len(firsts))


def _use(citations: list[dict[str, object]]) -> dict[str, float]:
    use: Counter[str] = Counter()
    for one in citations:
        alone, share = [one["id"]], one.get("share")
        ids = one.get("joined_ids") or alone
        if not isinstance(ids, list):
            raise ValueError(f"joined_ids is {ids!r}, and no list")
        for id in ids:
            if not isinstance(id, str):
                raise ValueError(f"the id {id!r} is no text")
            used = 1 / len(citations) if share is None else number(share, "share", 0, 1)
            use[id] += used / len(ids)  # type: ignore[assignment]  # parts of 1, not counts
    return dict(use)
