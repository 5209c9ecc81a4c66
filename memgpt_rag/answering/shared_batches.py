"""Answers under way that are generated together: each begins and ends between two steps, whatever the others do."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.generate import OngoingAnswer
from memgpt_rag.model.decoding import DecodingBatch, read_rows, reads_together

Ended = tuple[OngoingAnswer, Answer | Exception]


class SharedBatches:
    """Generates answers with different memories, routes and settings, a token of each or several in every step.

    Few questions are read between two steps, so that answers under way go on while others begin: those that wait longest, as many as
    fit into one forward pass.
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
        """Read the questions that wait longest, and give every row its next token.

        Returns:
            The answers that are complete now, and those that failed, with their errors.
        """
        failed = self._read()
        for batch in self._batches.values():
            batch.step()
        self._batches = {kind: batch for kind, batch in self._batches.items() if len(batch)}
        return failed + self._ended()

    def _read(self) -> list[Ended]:
        """Read questions in one forward pass; return the answers that failed."""
        together, failed = self._next_questions()
        try:
            if together:
                read_rows(together[0].model, [answer.row for answer in together])
        except Exception as error:  # such as no memory left
            return [*failed, *((answer, error) for answer in together)]
        for answer in together:
            batch = self._batches.setdefault(_kind(answer), DecodingBatch(answer.model))
            try:
                batch.join(answer.row)
                self._decoding.append(answer)
            except Exception as error:
                failed.append((answer, error))
        return failed

    def _next_questions(self) -> tuple[list[OngoingAnswer], list[Ended]]:
        """Take the questions that wait longest and are read together, and those that cannot be read, with their errors."""
        together: list[OngoingAnswer] = []
        failed: list[Ended] = []
        while self._unread:
            answer = self._unread[0]
            try:
                answer.prepare()
                if not _read_together([*together, answer]):
                    break
                together.append(answer)
            except Exception as error:
                failed.append((answer, error))
            self._unread.popleft()
        return together, failed

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


def _read_together(answers: Sequence[OngoingAnswer]) -> bool:
    rows = [answer.row for answer in answers]
    is_one_model = len({_model(answer) for answer in answers}) == 1
    return is_one_model and reads_together(answers[0].model, [row.asked for row in rows], [row.memory for row in rows])


def _model(answer: OngoingAnswer) -> Hashable:
    return id(answer.model.decoder), answer.model.prefix_tokens


def _kind(answer: OngoingAnswer) -> Hashable:
    """Return what rows of a batch have in common: the model, and roughly their size, since a batch is as wide as its longest."""
    tokens = max(answer.row.length, answer.row.memory.present.shape[1])
    return _model(answer), (tokens // 1024).bit_length() // 2
