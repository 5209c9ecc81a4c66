"""Answers of a benchmark in a file, so that a run goes on where it was stopped and two runs can be compared."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from memgpt_rag.answering.signals import Signals

Item = TypeVar("Item")
Row = dict[str, Any]


class KeptAnswers:
    """Rows of JSON by their key, one a line; a line that was cut short, as by a kill, is left out.

    Args:
        file: where they are kept; None keeps them for this run only.
    """

    def __init__(self, file: Path | None):
        self.file, self.rows = file, {}
        if file is not None and file.exists():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            self.rows = {row["key"]: row for row in map(json.loads, whole)}
            if whole != lines:
                file.write_text("".join(whole), encoding="utf-8")

    def fill(
        self,
        items: Iterable[tuple[str, Item]],
        answer: Callable[[Sequence[Item]], Iterable[Row]],
        what: str,
        batch_size: int = 8,
    ) -> list[Row]:
        """Return the row of each item, in order; those that are not there yet are answered in batches and kept.

        Args:
            items: each with a key that no other item of the file has.
        """
        asked = list(items)
        missing = [(key, item) for key, item in asked if key not in self.rows]
        for start in tqdm(range(0, len(missing), batch_size), desc=what, disable=None):
            batch = missing[start : start + batch_size]
            rows = [
                {"key": key, **row} for (key, _), row in zip(batch, answer([item for _, item in batch]), strict=True)
            ]
            self._add(rows)
        return [self.rows[key] for key, _ in asked]

    def _add(self, rows: Sequence[Row]) -> None:
        self.rows.update({row["key"]: row for row in rows})
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def known(signals: Signals) -> dict[str, float]:
    """Signals as JSON has them: those that are known. `Signals(**known)` gives them back."""
    return {name: value for name, value in asdict(signals).items() if not math.isnan(value)}
