"""Requests that join and leave between two steps, against each of them answered alone; with a tiny language model.

The engine's turns are run by the tests, one after the other, so that nothing depends on time.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time

import pytest
from hashing import HashEncoder, LetterEncoder
from served import BOOKS, TEXTS, wait_until
from tiny import TinyReader

from memgpt_rag.answering.answer_row import AnswerRow, Piece, Sampling
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.memory import Memory, add_lexical_index, add_sparse_vectors
from memgpt_rag.retrieval.retriever import Search
from memgpt_rag.serving.access import Access
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.engine import Engine
from memgpt_rag.serving.memories import Memories, Models
from memgpt_rag.serving.task import Found, Task

EVERYTHING = Access("test", frozenset({"*"}), frozenset({"*"}))
QUESTIONS = [
    "What does a rowing boat cost?",
    "开门时间？",
    "Who may borrow a kite, and from what age on is it allowed?",
    "Dogs?",
]


@pytest.fixture(scope="module")
def memories(tmp_path_factory):
    folder, encoder = tmp_path_factory.mktemp("memories"), HashEncoder()
    for name, texts in (("park", TEXTS), ("books", BOOKS)):
        Memory.create(folder / name, texts, encoder)
    opened = Memories(
        Models(TinyReader()(), lambda memory: encoder), {name: folder / name for name in ("park", "books")}
    )
    for name in opened:
        opened.open(name)
    assert not opened.faults
    return opened


class Asked:
    """A request, with the events that the engine sent for it."""

    def __init__(self, memories, memory="park", question=0, *, mode="memory", choices=1, **settings):
        options = {name: settings.pop(name) for name in ("k", "use_memory", "abstain", "where") if name in settings}
        fields = {name: settings.pop(name) for name in ("context", "streams", "deadline", "query") if name in settings}
        sampling = Sampling(**{"max_tokens": 12, "seed": 3, **settings})
        self.events = []
        self.task = Task(
            memory=memories.get(memory, EVERYTHING),
            question=QUESTIONS[question],
            context=fields.pop("context", ""),
            query=fields.pop("query", ""),
            options=AskOptions(mode=mode, max_new_tokens=sampling.max_tokens, **options),
            search=Search(),
            sampling=sampling,
            choices=choices,
            streams=fields.pop("streams", False),
            deadline=fields.pop("deadline", time.monotonic() + 1e6),
            on_event=self.events.append,
        )

    @property
    def choices(self):
        (choices,) = [event for event in self.events if isinstance(event, list)]
        return choices

    @property
    def is_done(self):
        return any(isinstance(event, list | Exception) for event in self.events)


def alone(memories, asked):
    """Answer a request with `generate` of transformers, each of its choices by itself."""
    task, found = asked.task, []
    rag, tokenizer = task.memory.rag, memories.models.decoder.tokenizer
    for choice in range(task.choices):
        (draft,) = rag.drafts(
            [task.question], task.options, contexts=[task.context], queries=[task.query or task.question]
        )
        row = AnswerRow(tokenizer, task.sampling, choice, on_piece=None, is_over=lambda: False)
        draft = dataclasses.replace(draft, control=row)
        (answer,) = rag.answer_from([draft], task.options)
        found.append((draft, answer, row))
    return found


def require_equal(asked, expected):
    for choice, (draft, answer, row) in zip(asked.choices, expected, strict=True):
        assert choice.row._tokens == row._tokens
        assert choice.tokens == len(draft.tokens)
        assert choice.row.finish_reason == row.finish_reason
        for one, other in zip(choice.row.log_probs, row.log_probs[: choice.tokens], strict=True):
            assert one.token == other.token
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
            assert [text for text, _ in one.top] == [text for text, _ in other.top]
        assert (choice.answer.text, choice.answer.mode) == (answer.text, answer.mode)
        assert choice.answer.supported == answer.supported
        assert choice.answer.confidence == (answer.confidence and pytest.approx(answer.confidence, abs=1e-4))
        assert choice.answer.memory_mass == pytest.approx(answer.memory_mass, abs=1e-5)
        shares = [citation.share for citation in answer.citations]
        assert [citation.share for citation in choice.answer.citations] == (
            shares if None in shares else pytest.approx(shares, abs=1e-4)
        )
        assert [one.spans for one in choice.answer.citations] == [one.spans for one in answer.citations]


def make_engine(memories, **settings):
    return Engine(memories, lambda task, choices: None, **{"max_rows": 6, "max_waiting": 64, **settings})


def row_tokens(engine):
    """Return, for each request under way, how many tokens its rows have."""
    found = {}
    for running, _ in engine._running.values():
        found[running.task] = [len(row._tokens) for row in running.rows]
    return found


def test_requests_that_join_and_leave_are_answered_as_alone(memories):
    """Different memories, modes, k, lengths, sampling by seed, stops, log-probabilities, text before the question, abstaining."""
    asked = [
        Asked(memories, k=3, max_tokens=20),
        Asked(memories, "books", 1, k=1, temperature=0.8, top_p=0.9, choices=3, max_tokens=9),
        Asked(memories, question=2, mode="prompt", k=2, top_logprobs=2),
        Asked(memories, question=3, mode="closed_book", temperature=1.0, top_logprobs=0),
        Asked(memories, question=1, abstain=True),
        Asked(memories, "books", 2, k=2, stops=(" ", "e"), max_tokens=30),
        Asked(memories, question=3, use_memory="auto", top_logprobs=1),
        Asked(memories, question=0, use_memory="never"),
        Asked(memories, question=2, k=4, context="You are the park's guide.", streams=True, temperature=0.5),
        Asked(memories, question=0, query="...", max_tokens=5),  # nothing is found
        Asked(memories, "books", 3, k=2, max_tokens=1),
        Asked(memories, question=0, k=6, max_tokens=40),
    ]
    engine, rng, waiting = make_engine(memories), random.Random(4), list(asked)
    while waiting or not all(one.is_done for one in asked):
        if waiting and rng.random() < 0.3:
            engine.submit(waiting.pop(0).task)
        if engine.waiting or engine.running:
            engine._turn()
    assert engine.running == 0
    for one in asked:
        require_equal(one, alone(memories, one))
    streamed = asked[8]
    pieces = "".join(event.text for event in streamed.events if isinstance(event, Piece))
    assert pieces + streamed.choices[0].rest.text == streamed.choices[0].text
    assert "nothing_found" not in asked[9].events and asked[9].choices[0].answer.nothing_found


def test_few_questions_are_read_between_two_steps(memories, monkeypatch):
    """Each turn gives every answer under way a token, and those that fit into a pass their first, in the order of their coming."""
    monkeypatch.setattr("memgpt_rag.model.decoding.READ_TOKENS", 0)
    engine = make_engine(memories, max_rows=8)
    first, *others = [Asked(memories, question=number % 4, max_tokens=50) for number in range(5)]
    engine.submit(first.task)
    engine._turn()
    engine._turn()
    for one in others:
        engine.submit(one.task)
    for turn in range(4):
        before = row_tokens(engine)
        engine._turn()
        after = row_tokens(engine)
        assert after[first.task][0] == before[first.task][0] + 1
        # The question of one more was read, and it took part in the step at once.
        assert [after[one.task] for one in others[: turn + 2]] == [
            [2 + turn - n] if n <= turn else [0] for n in range(len(others[: turn + 2]))
        ]
    monkeypatch.undo()
    more = [Asked(memories, question=number, max_tokens=50) for number in range(2)]
    for one in more:
        engine.submit(one.task)
    engine._turn()
    assert [row_tokens(engine)[one.task] for one in more] == [[2], [2]]


def test_questions_of_different_searches_wait_together_and_are_answered_as_alone(memories):
    """Two of them are searched for at once; one has another k, one another memory, and one cannot be searched for."""
    asked = [
        Asked(memories, question=0, k=3),
        Asked(memories, "books", 1, k=3),
        Asked(memories, question=2, k=2),
        Asked(memories, question=3, k=3, choices=2, temperature=0.7),
    ]
    empty = Asked(memories, question=1, k=3)
    empty.task.question = " "
    engine = make_engine(memories, max_rows=8)
    for one in [*asked[:2], empty, *asked[2:]]:
        engine.submit(one.task)
    searches = []
    for served in {id(one.task.memory.rag): one.task.memory.rag for one in asked}.values():
        search = served.drafts
        served.drafts = lambda questions, *a, search=search, **k: (
            searches.append(len(questions)) or search(questions, *a, **k)
        )
    try:
        engine._turn()
    finally:
        for one in asked:
            one.task.memory.rag.__dict__.pop("drafts", None)
    assert sorted(searches) == [1, 1, 1, 1, 1, 3]  # the three alike together, and then each alone
    while engine.running or engine.waiting:
        engine._turn()
    (error,) = empty.events
    assert isinstance(error, ValueError) and "empty" in str(error)
    for one in asked:
        require_equal(one, alone(memories, one))


def test_a_first_token_does_not_wait_for_the_last_of_others(memories):
    engine = make_engine(memories)
    long, short = Asked(memories, max_tokens=400), Asked(memories, "books", 1, max_tokens=3)
    engine.submit(long.task)
    engine._turn()
    engine.submit(short.task)
    while not short.is_done:
        engine._turn()
    (rows,) = row_tokens(engine).values()
    assert rows[0] < 10
    assert not long.is_done


def test_requests_wait_in_their_order_for_rows(memories):
    engine = make_engine(memories, max_rows=3)
    many = [Asked(memories, choices=choices, max_tokens=4, temperature=1.0) for choices in (2, 3, 1)]
    for one in many:
        engine.submit(one.task)
    ended = []
    while engine.running or engine.waiting:
        engine._turn()
        assert engine.running <= 3
        ended += [number for number, one in enumerate(many) if one.is_done and number not in ended]
    assert ended == [0, 1, 2]


def test_who_goes_or_is_late_frees_the_row_at_the_next_step(memories):
    engine = make_engine(memories)
    stays, goes = Asked(memories, max_tokens=30), Asked(memories, question=1, max_tokens=400)
    late = Asked(memories, question=2, max_tokens=400)
    for one in (stays, goes, late):
        engine.submit(one.task)
        engine._turn()
    goes.task.cancel()
    late.task.deadline = 0.0
    engine._turn()
    assert set(row_tokens(engine)) == {stays.task}
    assert late.choices[0].row.finish_reason == "length"
    while not stays.is_done:
        engine._turn()
    require_equal(stays, alone(memories, stays))


def test_a_request_that_fails_leaves_the_others_as_they_are(memories, monkeypatch):
    """One fails when its question is read, one in the middle of its answer, and one when its entries are searched."""
    engine = make_engine(memories)
    good, long = Asked(memories, max_tokens=20), Asked(memories, context="word " * 9000)
    broken, unfound = Asked(memories, question=1, choices=2, max_tokens=20), Asked(memories, where="year >= ")
    for one in (good, broken, long, unfound):
        engine.submit(one.task)
    take = AnswerRow.goes_on

    def goes_on(row, token):
        if row.sampling is broken.task.sampling and len(row._tokens) == 3:
            raise RuntimeError("broken")
        return take(row, token)

    monkeypatch.setattr(AnswerRow, "goes_on", goes_on)
    while engine.running or engine.waiting:
        engine._turn()
    assert [type(event) for event in broken.events] == [RuntimeError]
    (error,) = long.events
    assert isinstance(error, ValueError) and "tokens" in str(error)
    (error,) = unfound.events
    assert isinstance(error, ValueError)
    monkeypatch.undo()
    require_equal(good, alone(memories, good))


def test_a_pass_that_fails_ends_what_took_part_and_nothing_later(memories, monkeypatch):
    engine = make_engine(memories)
    first, second = Asked(memories), Asked(memories, question=1)
    engine.submit(first.task)
    engine._turn()
    decoder = memories.models.decoder.decoder
    with monkeypatch.context() as patch:
        patch.setattr(decoder.model, "forward", lambda *a, **k: (_ for _ in ()).throw(MemoryError("no room")))
        engine._turn()
    assert isinstance(first.events[-1], MemoryError) and engine.running == 0
    engine.submit(second.task)
    while not second.is_done:
        engine._turn()
    require_equal(second, alone(memories, second))


def test_what_no_request_can_help_ends_those_under_way_and_the_engine_goes_on(memories, monkeypatch):
    """Memory that runs out between two steps, and a memory that has lost the index that a request is to search by."""
    engine = make_engine(memories)
    first, unfit, later = Asked(memories), Asked(memories), Asked(memories, question=1)
    engine.submit(first.task)
    engine._turn()
    unfit.task.search = Search("bm25")
    engine.submit(unfit.task)
    engine._turn()
    assert [str(event) for event in unfit.events if "lexical index" in str(event)] == [str(unfit.events[-1])]

    def no_room():
        raise MemoryError("no room")

    monkeypatch.setattr(engine._batches, "step", no_room)
    engine.start()
    wait_until(lambda: first.is_done)
    assert isinstance(first.events[-1], MemoryError) and engine.running == 0
    engine.submit(later.task)
    wait_until(lambda: later.is_done)
    assert engine.is_alive
    engine.close()
    require_equal(later, alone(memories, later))


def test_the_search_of_a_request_is_its_own(memories):
    """What a request asks for does not become the memory's default."""
    engine, asked = make_engine(memories), Asked(memories)
    before = asked.task.memory.rag.retriever.search
    asked.task.search = Search(diversity=0.3)
    asked.task.tells_found = True
    engine.submit(asked.task)
    engine._turn()
    assert isinstance(asked.events[0], Found)
    assert asked.task.memory.rag.retriever.search == before


def test_the_route_of_a_request_goes_by_its_own_search(memories, tmp_path):
    """A dense search has no lexical index to tell how much of the question an entry repeats."""
    encoder = HashEncoder()
    add_lexical_index(Memory.create(tmp_path / "park", TEXTS, encoder))
    served = Memories(Models(memories.models.decoder, lambda memory: encoder), {"park": tmp_path / "park"})
    served.open("park")
    engine, dense, lexical = make_engine(served), Asked(served), Asked(served)
    dense.task.search, lexical.task.search = Search("dense"), Search("bm25")
    for one in (dense, lexical):
        engine.submit(one.task)
    engine._turn()
    overlaps = {running.task: running.drafts[0].signals.rare_overlap for running, _ in engine._running.values()}
    assert math.isnan(overlaps[dense.task])
    assert 0 < overlaps[lexical.task] < 1


def test_a_memory_without_sparse_vectors_is_served_beside_one_that_has_them(memories, tmp_path):
    encoder, letters = HashEncoder(), LetterEncoder()
    sparse = Memory.create(tmp_path / "sparse", TEXTS, encoder)
    add_sparse_vectors(
        sparse, letters.fingerprint, lambda found: letters.encode_passages([one.titled_text for one in found])
    )
    models = Models(memories.models.decoder, lambda memory: encoder, Search("sparse", sparse_encoder=letters))
    served = Memories(models, {"sparse": tmp_path / "sparse", "books": memories.folder("books")})
    for name in served:
        served.open(name)
    one, other = (served.opened(name) for name in served)
    assert (one.search.kind, other.search.kind) == ("sparse", "dense") and not served.faults
    (query,), (shown,) = letters.encode_queries([TEXTS[1]]), letters.encode_passages([TEXTS[1]])
    found = served.retrieve(one, TEXTS[1], 9, None, served.memory_search(one, None))
    scores = {entry.passage.text: entry.score for entry in found}
    assert scores[TEXTS[1]] == pytest.approx(sum(weight * shown[name] for name, weight in query.items()))
    with pytest.raises(ApiError, match="^books has no sparse vectors; add them with: memgpt-index sparse books "):
        served.memory_search(other, "sparse")


def test_what_cannot_begin_in_its_time_is_refused_at_once(memories):
    """Those that wait would take all of it: the client learns now when to come again, not at its deadline."""
    engine = make_engine(memories)
    engine._seconds_per_task = 4.0
    for _ in range(3):
        engine.submit(Asked(memories, deadline=time.monotonic() + 100).task)
    with pytest.raises(ApiError, match="3 requests wait already; try again in 12 s") as refused:
        engine.submit(Asked(memories, deadline=time.monotonic() + 10).task)
    assert (refused.value.status, refused.value.retry_after) == (429, 12)
    engine.submit(Asked(memories, deadline=time.monotonic() + 20).task)


def test_what_comes_while_the_engine_stops_is_refused(memories):
    engine = make_engine(memories, max_rows=1)
    running, waiting = Asked(memories, max_tokens=400), Asked(memories)
    engine.submit(running.task)
    engine._turn()
    engine.submit(waiting.task)
    engine.close()
    while engine._turn():
        pass
    assert running.choices[0].row.finish_reason == "length"
    (error,) = waiting.events
    assert isinstance(error, ApiError) and error.status == 503
    with pytest.raises(ApiError, match="stopping"):
        engine.submit(Asked(memories).task)
