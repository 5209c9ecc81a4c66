"""Questions that a model makes about a memory: which are kept, and that what is kept can be trained on."""

from __future__ import annotations

import numpy as np
import pytest
from hashing import passage
from hats import build_hats, open_rag

from memgpt_rag.errors import ModelError
from memgpt_rag.memory import Memory
from memgpt_rag.memory.changes import delete_entries
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.retrieval.rerankers import LikelihoodReranker
from memgpt_rag.training import self_study as module
from memgpt_rag.training.questions import read_questions, write_questions
from memgpt_rag.training.self_study import _HOW, _how_pairs, _is_answer, _is_question, _may_answer, _steps, self_study

KITES = "Children under twelve may borrow a kite at the tea house. 借书证每年收费三十元。"


@pytest.mark.parametrize(
    "text, is_one",
    [
        ("Where can children borrow a kite?", True),
        ("借书证每年多少钱？", True),
        ("Who?", False),
        ("为何？", False),
        ("Where can children borrow a kite", False),
        ("", False),
    ],
)
def test_a_question_has_words_and_ends_as_one(text, is_one):
    assert _is_question(text) is is_one


@pytest.mark.parametrize(
    "answer, is_one",
    [
        ("at the tea house", True),
        ("Children under twelve", True),
        ("三十元", True),
        ("at the east gate", False),
        ("borrow a kite", False),  # words of the question
        ("not in memory", False),
        ("记忆中没有", False),
        ("...", False),
        ("", False),
    ],
)
def test_an_answer_stands_in_the_passage_and_not_in_the_question(answer, is_one):
    assert _is_answer("Where can one borrow a kite?", answer, passage(1, KITES)) is is_one


STEPS = """3.2. Removing packages

To remove a package and its settings, run:
    apt purge foo
See there."""


def test_a_step_comes_with_the_line_that_introduces_it(tmp_path):
    command = "To remove a package and its settings, run:\n    apt purge foo"
    assert _steps(STEPS) == ["3.2. Removing packages", command, "See there."]
    prompt: Prompt = open_rag(build_hats(tmp_path)).prompt
    assert [step for step in _steps(STEPS) if _may_answer(prompt, step)] == [command], "no heading, nothing short"
    assert not _may_answer(prompt, command + " foo" * 64)
    heading = "7. Solving problems and finding information"
    assert _may_answer(prompt, heading) and not _may_answer(prompt, heading, first=True)
    assert _may_answer(prompt, f"{heading}.", first=True) and _may_answer(prompt, command, first=True)


def test_a_question_how_is_kept_where_no_other_step_makes_it_likelier(tmp_path, monkeypatch):
    rag, made = open_rag(build_hats(tmp_path)), "How do I borrow a kite?"
    steps = ["Show your card at the tea house.", "Then choose a kite for the wind.", "Bring it back before dark."]
    monkeypatch.setattr(module, "_questions", lambda model, prompt, passages, openings: [made] * len(passages))
    monkeypatch.setattr(LikelihoodReranker, "rate", lambda self, question, passages: -np.arange(len(passages)))
    kept = [
        _how_pairs(rag, rag.prompt, [passage(1, "\n".join(steps))], np.random.default_rng(seed)) for seed in range(12)
    ]
    assert {made: steps[0]} in kept, "the first is the likeliest"
    assert all(pairs in ({}, {made: steps[0]}) for pairs in kept) and {} in kept


def test_a_model_that_asks_nothing_is_refused_with_the_remedy(tmp_path):
    rag = open_rag(build_hats(tmp_path))
    looked_at: list[int] = []
    with pytest.raises(ModelError, match=r"made 0 questions .*; expected at least 8\. Give questions with answers"):
        self_study(rag, 8, batch_size=3, on_entries=looked_at.append)
    assert looked_at == [3, 3, 2], "every entry was tried once"


def test_what_was_made_before_an_interruption_is_gone_on_with(tmp_path, monkeypatch):
    rag, asked = open_rag(build_hats(tmp_path)), []

    def made(rag, pretrained, entries):
        asked.append([entry.row for entry in entries])
        return {f"What is on row {entry.row}?": "a hat" for entry in entries}

    monkeypatch.setattr(module, "_pairs", made)
    seen = []
    first = self_study(rag, 8, how=0.0, batch_size=3, on_pairs=lambda pairs: seen.append(len(pairs)))
    assert seen == [3, 6, 8] and len(first) == 8
    order = [row for rows in asked for row in rows]
    assert sorted(order) == list(range(8))
    asked.clear()
    again = self_study(rag, 8, how=0.0, batch_size=3, known=first[:5])
    assert again[:5] == first[:5] and dict(again) == dict(first)
    assert [row for rows in asked for row in rows] != order[: sum(map(len, asked))], "other entries are drawn"
    asked.clear()
    assert self_study(rag, 8, how=0.0, known=first) == first and asked == []


def test_entries_that_were_deleted_are_not_asked_about(tmp_path, monkeypatch):
    folder, asked = build_hats(tmp_path), []
    delete_entries(folder, np.array([0, 2, 3]), Memory.open(folder).manifest)
    rag = open_rag(folder)
    monkeypatch.setattr(module, "_pairs", lambda rag, pretrained, entries: asked.extend(entries) or {})
    with pytest.raises(ModelError, match="made 0 questions"):
        self_study(rag, 8, how=0.0, batch_size=3)
    assert sorted(entry.row for entry in asked) == [1, 4, 5, 6, 7]
    assert [entry.passage for entry in asked] == rag.retriever.memory.passages([entry.row for entry in asked])


def test_questions_come_back_from_their_file(tmp_path):
    pairs = [("Where can one borrow a kite?", 'at "the" tea house'), ("借书证每年多少钱？", "三十元")]
    write_questions(tmp_path / "new" / "questions.jsonl", pairs)
    assert read_questions(tmp_path / "new" / "questions.jsonl") == pairs


@pytest.mark.offline_models
@pytest.mark.slow
def test_the_default_model_asks_about_a_memory_what_it_holds(memory, monkeypatch):
    from memgpt_rag.answering.answer_match import holds_answer
    from memgpt_rag.rag import RAG

    rag = RAG.open(memory, keep_states=False)
    pairs: dict[str, str] = {}
    monkeypatch.setattr("memgpt_rag.training.self_study._LEAST_PAIRS", 1)  # eleven entries give about six at a time
    for seed in range(3):
        pairs |= dict(self_study(rag, 8, how=0, seed=seed))
    assert len(pairs) >= 8
    passages = rag.retriever.memory.passages(range(len(rag.retriever.memory)))
    assert all(any(holds_answer(one.titled_text, answer) for one in passages) for answer in pairs.values())
    steps = {step for one in passages for step in _steps(one.text)}
    asked_how = dict(self_study(rag, 8, how=1))
    assert steps >= set(asked_how.values())
    openings = tuple(opening.strip() for some in _HOW.values() for opening in some)
    assert all(question.startswith(openings) for question in asked_how)
