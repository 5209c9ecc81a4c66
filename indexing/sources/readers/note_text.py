"""Lists of numbers and of names in the notes of readers, shortened."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_RUNS = 20


def numbered(noun: str, numbers: Sequence[int]) -> str:
    """Return a noun with ascending numbers: "page 3", "slides 2–4, 7"; of many runs of numbers, the first ones."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    shown = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs[:_MOST_RUNS])
    return f"{noun}{'' if len(numbers) == 1 else 's'} {shown}{', …' if len(runs) > _MOST_RUNS else ''}"


def first_names(names: Sequence[object], most: int, count: int | None = None) -> str:
    """Return the first names of a list, and how many more there are: "a.ico, b.ico and 3 more".

    Args:
        most: number of names that are shown.
        count: number of names in all, if the list does not hold them all.
    """
    more = (len(names) if count is None else count) - most
    return ", ".join(map(str, names[:most])) + (f" and {more:,} more" if more > 0 else "")
