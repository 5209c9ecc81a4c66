"""Answers under way that are generated together: each begins and ends between two steps, whatever the others do."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.generate import OngoingAnswer
from memgpt_rag.model.decoding import DecodingBatch, DecodingRow

Ended = tuple[OngoingAnswer, Answer | Exception]


class SharedBatches:
    """Generates answers with different memories, routes and settings, a token of each in every step.

    At most one question is read between two steps, so that answers under way go on while others begin.
    """

    def __init__(self) -> None:
        self._unread: deque[OngoingAnswer] = deque()
        self._batches: dict[Hashable, DecodingBatch] = {}
        self._decoding: list[OngoingAnswer] = []

    def __len__(self) -> int:
        return len(self._unread) + len(self._decoding)

    @property
    def unread(self) -> int:
        """Return how many questions are still to be read."""
        return len(self._unread)

    def add(self, answer: OngoingAnswer) -> None:
        """Generate an answer from the next step on that has time for its question."""
        self._unread.append(answer)

    def step(self) -> list[Ended]:
        """Read the question that waits longest, if one does, and give every row its next token.

        Returns:
            The answers that are complete now, and those that failed, with their errors.
        """
        ended: list[Ended] = []
        if self._unread:
            answer = self._unread.popleft()
            try:
                row = answer.read()
                self._batches.setdefault(_kind(answer, row), DecodingBatch(answer.model)).join(row)
                self._decoding.append(answer)
            except Exception as error:
                ended.append((answer, error))
        for batch in self._batches.values():
            batch.step()
        self._batches = {kind: batch for kind, batch in self._batches.items() if len(batch)}
        return ended + self._ended()

    def _ended(self) -> list[Ended]:
        ended: list[Ended] = []
        decoding, self._decoding = self._decoding, []
        for answer in decoding:
            if not answer.row.ended:
                self._decoding.append(answer)
                continue
            try:
                done = answer.finish()
            except Exception as error:
                ended.append((answer, error))
                continue
            if done is None:
                self._unread.appendleft(answer)
            else:
                ended.append((answer, done))
        return ended


def _kind(answer: OngoingAnswer, row: DecodingRow) -> Hashable:
    """Return what rows of a batch have in common: the model, and roughly their size, since a batch is as wide as its longest."""
    model, tokens = answer.model, max(row.length, row.memory.present.shape[1])
    return id(model.decoder), model.prefix_tokens, (tokens // 1024).bit_length() // 2
