"""Rows of a batch with rules of their own, text before a question, and other words to search for; with a tiny model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hashing import HashEncoder
from tiny import TinyReader

from memgpt_rag.answering.answer_row import AnswerRow, Sampling
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.row_control import ControlledRows
from memgpt_rag.memory import Memory
from memgpt_rag.model.answer_text import AnswerEnd
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.rerankers import LikelihoodReranker

QUESTIONS = ["When does it open?", "Who may borrow a kite in this park?", "What costs 40?"]
OPTIONS = AskOptions(k=2, max_new_tokens=10)


@pytest.fixture(scope="module")
def tiny_rag(tmp_path_factory):
    texts = ["A boat costs 40 yuan.", "The park opens at six.", "Children may borrow a kite."]
    memory = Memory.create(tmp_path_factory.mktemp("rows") / "memory", texts, encoder := HashEncoder())
    return RAG(memory, encoder, TinyReader()())


def test_how_likely_entries_make_a_question_is_known_of_an_answer_from_memory_as_the_reranker_says_it(tiny_rag):
    for mode in ("memory", "prompt"):
        (draft,) = tiny_rag.drafts(QUESTIONS[:1], replace(OPTIONS, mode=mode))
        tiny_rag.answer_from([draft], replace(OPTIONS, mode=mode))
        if mode == "prompt":
            assert draft.rate is None
            continue
        rated = LikelihoodReranker(tiny_rag.model, tiny_rag.prompt).rate(
            draft.question, [entry.passage for entry in draft.entries]
        )
        np.testing.assert_allclose(draft.rate(draft.entries), rated, atol=1e-5)
        assert len(rated) == 2 and rated[0] != rated[1]


class Control:
    """Gives the tokens that it is given, or the likeliest, and ends after so many."""

    def __init__(self, most=100, given=()):
        self.most, self.given, self.seen, self.begun = most, list(given), [], 0

    def begin(self, end):
        self.begun += 1
        self.seen = []

    def choose(self, scores):
        return self.given[len(self.seen)] if self.given else None

    def goes_on(self, token):
        self.seen.append(token)
        return len(self.seen) < self.most


def answered(rag, controls, options=OPTIONS):
    drafts = [
        replace(draft, control=control) for draft, control in zip(rag.drafts(QUESTIONS, options), controls, strict=True)
    ]
    return drafts, rag.answer_from(drafts, options)


def test_a_row_that_chooses_nothing_is_answered_as_without_a_control(tiny_rag):
    plain, before = answered(tiny_rag, [None] * 3)
    controls = [Control(), None, Control()]
    drafts, after = answered(tiny_rag, controls)
    for one, other in zip(plain, drafts, strict=True):
        assert other.tokens == one.tokens
        assert other.log_probs == pytest.approx(one.log_probs)
        assert other.mass == pytest.approx(one.mass)
    assert [answer.text for answer in after] == [answer.text for answer in before]
    assert controls[0].seen == drafts[0].tokens and controls[0].begun == 1


def test_rows_end_each_on_its_own(tiny_rag):
    plain, _ = answered(tiny_rag, [None] * 3)
    drafts, answers = answered(tiny_rag, [Control(2), Control(5), None])
    assert [draft.tokens for draft in drafts] == [plain[0].tokens[:2], plain[1].tokens[:5], plain[2].tokens]
    for draft, answer in zip(drafts, answers, strict=True):
        assert len(draft.log_probs) == len(draft.tokens)
        assert sum(citation.share for citation in answer.citations) == pytest.approx(1)


def test_chosen_tokens_keep_the_likelihoods_that_the_model_gave_them(tiny_rag):
    given = tiny_rag.model.tokenizer("boat", add_special_tokens=False)["input_ids"]
    drafts, answers = answered(tiny_rag, [Control(len(given), given), None, None])
    assert drafts[0].tokens == given
    assert answers[0].text == "boat"
    assert all(log_prob < -0.01 for log_prob in drafts[0].log_probs)  # none is certain to a random model


END = 999  # ends a text; no token of the tokenizer


@pytest.mark.parametrize(
    "written, answer",
    [
        ("- tea\n- milk\n\nQuestion: Why?", "- tea\n- milk"),
        ("40 yuan\n- tea\n- milk", "40 yuan"),
        ("Run:\n\napt", "Run:\n\napt"),
        ("```\napt update\n\napt upgrade\n```\nThe lake is deep.", "```\napt update\n\napt upgrade\n```"),
    ],
)
def test_an_answer_of_several_lines_goes_on_to_its_end_and_its_pieces_with_it(written, answer):
    """Rows end where `AnswerEnd` says that an answer is over, and nothing that shows it is passed on."""
    tokenizer = byte_tokenizer()
    pieces, end = [], AnswerEnd(tokenizer, itself=False)
    row = AnswerRow(
        tokenizer, Sampling(max_tokens=100, top_logprobs=0), 0, on_piece=pieces.append, is_over=lambda: False
    )
    control, read = ControlledRows([row], end, {END}), []
    for token in [*tokenizer(written, add_special_tokens=False)["input_ids"], END]:
        control.chosen(torch.zeros(1, len(tokenizer)))
        read.append(token)
        if control.ended([token]) == [True]:
            break
    assert row.finish_reason == "stop"
    kept = end.tokens([token for token in read if token != END])
    control.cut(rows := [list(kept)])
    assert rows == [kept] and tokenizer.decode(kept).strip() == answer
    row.keep(len(kept))
    pieces.append(row.rest(answer))
    assert "".join(piece.text for piece in pieces) == answer
    assert "".join(one.token for piece in pieces for one in piece.log_probs).strip() == answer


@pytest.mark.parametrize("most, reason", [(3, "length"), (100, "stop")])
def test_an_answer_was_cut_only_if_it_was_when_it_ended(most, reason):
    """A deadline that passes later, or that another answer to the same request meets, changes nothing."""
    tokenizer, late = byte_tokenizer(), []
    row = AnswerRow(tokenizer, Sampling(max_tokens=most), 0, on_piece=None, is_over=lambda: bool(late))
    rows = ControlledRows([row], AnswerEnd(tokenizer, itself=True), {END})
    for token in [*tokenizer("tea", add_special_tokens=False)["input_ids"], END]:
        rows.ended([token])
    late.append(True)
    assert row.finish_reason == reason


@pytest.mark.parametrize("temperature", [1e-40, 5e-324, 1e-5])
def test_a_temperature_next_to_nothing_takes_the_likeliest_token(temperature):
    row = AnswerRow(
        byte_tokenizer(), Sampling(temperature=temperature, seed=1), 0, on_piece=None, is_over=lambda: False
    )
    scores = torch.tensor([-40.0, 30.0, -torch.inf, 29.5])
    assert row.choose(scores) == 1


def test_a_route_that_is_taken_again_begins_again(tiny_rag):
    """What reads no memory after all is generated twice, and only the second time counts."""
    control = Control(4)
    options = AskOptions(k=2, max_new_tokens=10, use_memory="auto")
    drafts, _ = answered(tiny_rag, [control, Control(3), Control(2)], options)
    for draft, most in zip(drafts, (4, 3, 2), strict=True):
        assert len(draft.tokens) <= most
        if draft.control is control:
            assert control.seen[: len(draft.tokens)] == draft.tokens


def test_text_before_a_question_is_read_right_before_it(tiny_rag):
    prompt = tiny_rag.prompt
    context = "Speak plainly."
    row = prompt.question_row("Why?", [], context)
    assert row == [*prompt.context_ids(context), *prompt.question_ids("Why?")]
    assert prompt.question_row("Why?", [], " \n") == list(prompt.question_ids("Why?"))
    with_context, without = (
        tiny_rag.answer_from(tiny_rag.drafts(["Why?"], OPTIONS, contexts=[one]), OPTIONS)[0].text
        for one in (context, "")
    )
    assert with_context != without
    with pytest.raises(ValueError, match=r"before the question has 4\d,\d{3} tokens; expected at most 16,384"):
        tiny_rag.drafts(["Why?"], contexts=["much " * 8_000])


def test_other_words_are_searched_for_and_the_question_is_asked(tiny_rag):
    (draft,) = tiny_rag.drafts(["And then?"], AskOptions(k=1), queries=["borrow a kite"])
    assert draft.question == "And then?"
    assert draft.retrieved[0].passage.text == "Children may borrow a kite."
    with pytest.raises(ValueError, match="empty"):
        tiny_rag.drafts(["And then?"], queries=[" "])
