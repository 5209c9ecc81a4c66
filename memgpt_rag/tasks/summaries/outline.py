"""The outline of a summary: sections of a document by its headings, or, where it has none, by the topics of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from memgpt_rag.choices import Outline
from memgpt_rag.io.printable import counted
from memgpt_rag.memory import Searchable
from memgpt_rag.passage import Passage

_LEAST_ENTRIES = 3  # of a topic, on average
_CENTRAL = 2  # entries that name a topic


@dataclass(frozen=True)
class Section:
    """Entries that one part of a summary is written from.

    Attributes:
        heading: empty where it is still to be named, or needs no name.
        rows: its entries in reading order.
        central: rows of the entries that say best what it is about, for a name; none where it has one.
    """

    heading: str
    rows: tuple[int, ...]
    central: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        return {"heading": self.heading, "passages": len(self.rows)}


def sections(memory: Searchable, rows: Int[np.ndarray, " n"], most: int, kind: Outline) -> list[Section]:
    """Return at most so many sections of entries, which hold each of them once.

    Args:
        kind: "headings" or "topics"; "auto" for headings where the entries stand under several.

    Raises:
        ValueError: headings are wanted, and there are none.
    """
    if kind == "topics":
        return by_topics(memory, rows, most)
    found = by_headings(memory.passages(rows), rows, most)
    if len(found) > 1 or most == 1:
        return found
    if kind == "headings":
        raise ValueError(f"No headings divide the {counted(len(rows), 'entry', 'entries')}; outline by topics.")
    topics = by_topics(memory, rows, most)
    return topics if len(topics) > 1 else found


def by_headings(passages: Sequence[Passage], rows: Sequence[int] | Int[np.ndarray, " n"], most: int) -> list[Section]:
    """Return sections by the deepest level of headings that makes at most so many.

    Where even the first level makes more, neighbors are joined to sections of about as many entries, whose heading names the first
    and the last. A single section has the heading that all entries stand under.
    """
    paths = [passage.headings for passage in passages]
    shared = _shared_levels(paths)
    named = paths[0][:shared][-1] if paths and shared else ""
    chosen: dict[tuple[str, ...], list[int]] = {(): [int(row) for row in rows]}
    levels = max(map(len, paths), default=0) - shared if most > 1 else 0
    for depth in range(1, levels + 1):
        grouped: dict[tuple[str, ...], list[int]] = {}
        for path, row in zip(paths, rows, strict=True):
            grouped.setdefault(path[shared : shared + depth], []).append(int(row))
        if depth > 1 and len(grouped) > most:
            break
        chosen = grouped
    found = [Section(path[-1] if path else named, tuple(group)) for path, group in chosen.items()]
    return found if len(found) <= most else _joined(found, most)


def by_topics(memory: Searchable, rows: Int[np.ndarray, " n"], most: int) -> list[Section]:
    """Return sections of entries with keys that are near each other, by k-means, in the order of their middle entries.

    They are still to be named, by what stands nearest to the mean of the keys.
    """
    from sklearn.cluster import KMeans

    count = min(most, max(1, len(rows) // _LEAST_ENTRIES))
    if count == 1:
        return [Section("", tuple(rows.tolist()))]
    keys = memory.keys(rows)
    fitted = KMeans(count, n_init=4, random_state=0).fit(keys)
    distances = fitted.transform(keys)
    found = []
    for topic in range(count):
        places = np.flatnonzero(fitted.labels_ == topic)
        if len(places):
            nearest = places[np.argsort(distances[places, topic], kind="stable")[:_CENTRAL]]
            found.append(
                (float(np.median(places)), Section("", tuple(rows[places].tolist()), tuple(rows[nearest].tolist())))
            )
    return [section for _, section in sorted(found, key=lambda one: one[0])]


def _shared_levels(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many of the outermost headings all entries have in common."""
    level = 0
    while paths and all(len(path) > level for path in paths) and len({path[level] for path in paths}) == 1:
        level += 1
    return level


def _joined(found: Sequence[Section], most: int) -> list[Section]:
    total, groups = sum(len(section.rows) for section in found), [list[Section]() for _ in range(most)]
    before = 0
    for section in found:
        groups[min(before * most // total, most - 1)].append(section)
        before += len(section.rows)
    return [
        Section(
            group[0].heading if len(group) == 1 else f"{group[0].heading} – {group[-1].heading}",
            tuple(row for section in group for row in section.rows),
        )
        for group in groups
        if group
    ]
