"""Deciding to query and saying that something is not in memory, with the models that come as packages."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import KNOWN
from transformers import TextStreamer
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.answering.confidence import ConfidenceModel, FeatureWeight, LogisticModel, load_confidence
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.generate import _Decision
from memgpt_rag.answering.generation_hooks import TokenLogProbs
from memgpt_rag.answering.judge import judge
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.model.prompt import detect_language
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.rerankers import LikelihoodReranker
from memgpt_rag.retrieval.retriever import Search
from memgpt_rag.training.fit_confidence import fit_confidence

pytestmark = pytest.mark.offline_models

SUPPORTED = ["How much does it cost to rent a rowing boat?", "Who can borrow a kite?", "遛狗必须怎么做？"]
UNSUPPORTED = ["Who won the 1998 World Cup?", "谁发明了电话？"]
SMALL_TALK = ["Hello, how are you?", "谢谢你！", "Tell me a joke.", "What is 17 + 25?"]


class Collect(BaseStreamer):
    """Tokens as they come, each with the number of passes that were over by then."""

    def __init__(self):
        self.puts = []

    def put(self, value):
        self.puts.append(value.flatten().tolist())

    def end(self):
        self.puts.append("end")

    @property
    def tokens(self):
        assert self.puts[-1] == "end"
        return [token for put in self.puts[1:-1] for token in put]


@pytest.fixture
def confidence(rag):
    """Whatever a test sets is taken back."""
    before = rag.confidence
    yield before
    rag.confidence = before


def needed_by(signal: str, above: float) -> LogisticModel:
    return LogisticModel({signal: FeatureWeight(1.0, above, 0.01)}, 0.0, 0.5)


def test_what_memory_holds_is_supported_and_what_it_does_not_hold_is_not(rag):
    answers = rag.answer_all([*SUPPORTED, *UNSUPPORTED], AskOptions(max_new_tokens=16))
    assert [answer.supported for answer in answers] == [True] * 3 + [False] * 2
    confidences = [answer.confidence for answer in answers]
    assert 0 < max(confidences[3:]) < min(confidences[:3]) < 1
    for answer in answers:
        assert answer.confidence == rag.confidence.supported(answer.signals)
        assert answer.signals.mass == pytest.approx(answer.memory_mass)
        assert answer.signals.share == pytest.approx(answer.citations[0].share)


def test_abstaining_says_so_in_the_questions_language(rag):
    plain = rag.answer_all([SUPPORTED[0], *UNSUPPORTED], AskOptions(max_new_tokens=16))
    abstaining = rag.answer_all([SUPPORTED[0], *UNSUPPORTED], AskOptions(max_new_tokens=16, abstain=True))
    assert [answer.text for answer in abstaining] == [plain[0].text, "not in memory", "记忆中没有"]
    assert [answer.confidence for answer in abstaining] == pytest.approx([answer.confidence for answer in plain])
    assert {answer.text for answer in plain}.isdisjoint({"not in memory", "记忆中没有"})


def test_a_model_that_says_so_itself_is_believed(rag):
    draft = Draft(SUPPORTED[0], rag.retriever.retrieve(SUPPORTED[:1], 8)[0])
    (answer,) = rag.answer_from([draft], AskOptions(max_new_tokens=12))
    assert judge(draft, rag.confidence, abstain=False) == answer
    for words in ("Not in memory.", "记忆中没有。"):
        draft.text = words
        denied = judge(draft, rag.confidence, abstain=False)
        assert (denied.text, denied.supported, denied.confidence) == (words, False, 0)
        # Search and attention point to the right entry all the same: its words come first.
        assert denied.quote is not None and denied.quote.passage == answer.citations[0].passage
        assert denied.leads == "quote"


@pytest.mark.slow
def test_small_talk_is_answered_without_the_memory_and_questions_from_it(rag):
    questions = [SMALL_TALK[0], SUPPORTED[0], *SMALL_TALK[1:3], SUPPORTED[2], SMALL_TALK[3]]
    answers = rag.answer_all(questions, AskOptions(use_memory="auto", max_new_tokens=8))
    assert [answer.question for answer in answers] == questions
    assert [answer.mode for answer in answers] == [
        "closed_book",
        "memory",
        "closed_book",
        "closed_book",
        "memory",
        "closed_book",
    ]
    for answer in answers:
        alone = rag.answer(answer.question, AskOptions(mode=answer.mode, max_new_tokens=8))
        assert answer.text == alone.text
        if answer.mode == "closed_book":
            assert (answer.citations, answer.memory_mass, answer.confidence, answer.supported) == ([], 0, None, None)
        else:
            assert answer.confidence == pytest.approx(alone.confidence, abs=0.02)


def test_never_is_closed_book(rag):
    never, closed = (
        rag.answer(SUPPORTED[0], AskOptions(max_new_tokens=12, **one))
        for one in ({"use_memory": "never"}, {"mode": "closed_book"})
    )
    assert replace(never, timings=None) == replace(closed, timings=None)
    assert never.mode == "closed_book"


def test_what_too_little_attention_goes_to_is_left_after_the_first_pass(rag, confidence):
    mass = rag.answer(SUPPORTED[0], AskOptions(max_new_tokens=4)).signals.question_mass
    passes = []
    counting = rag.model.decoder.model.layers[0].register_forward_hook(lambda *_: passes.append(1))
    by_token = {"num_beams": 1}  # without drafts, which save passes
    try:
        rag.confidence = ConfidenceModel(needed_by("question_mass", mass - 0.01), confidence.supported)
        read = rag.answer(SUPPORTED[0], AskOptions(use_memory="auto", max_new_tokens=4), **by_token)
        reading, passes[:] = len(passes), []
        rag.confidence = ConfidenceModel(needed_by("question_mass", mass + 0.01), confidence.supported)
        left = rag.answer(SUPPORTED[0], AskOptions(use_memory="auto", max_new_tokens=4), **by_token)
        leaving, passes[:] = len(passes), []
        rag.confidence = ConfidenceModel(needed_by("score", 100.0), confidence.supported)
        at_once = rag.answer(SUPPORTED[0], AskOptions(use_memory="auto", max_new_tokens=4), **by_token)
    finally:
        counting.remove()
    always, closed = (
        rag.answer(SUPPORTED[0], AskOptions(max_new_tokens=4)),
        rag.answer(SUPPORTED[0], AskOptions(mode="closed_book", max_new_tokens=4)),
    )
    assert (read.text, read.mode) == (always.text, "memory")
    assert (left.text, left.mode) == (at_once.text, at_once.mode) == (closed.text, "closed_book")
    assert reading == len(passes), "reading costs no pass more than closed book does"
    assert leaving == len(passes) + 1, "the pass that decided"


@pytest.mark.slow
def test_beams_decide_and_are_judged_too(rag, confidence):
    answer = rag.answer(SUPPORTED[0], AskOptions(use_memory="auto", max_new_tokens=8), num_beams=2)
    assert answer.mode == "memory"
    assert answer.supported
    assert rag.answer(SMALL_TALK[0], AskOptions(use_memory="auto", max_new_tokens=4), num_beams=2).mode == "closed_book"
    rag.confidence = ConfidenceModel(needed_by("question_mass", 0.99), confidence.supported)
    assert rag.answer(SUPPORTED[0], AskOptions(use_memory="auto", max_new_tokens=4), num_beams=2).mode == "closed_book"


@torch.no_grad()
def test_the_likelihood_of_an_answer_is_that_of_its_tokens_one_by_one(rag):
    answer = rag.answer(SUPPORTED[0], AskOptions(max_new_tokens=6))
    streamer = Collect()
    rag.answer(SUPPORTED[0], AskOptions(max_new_tokens=6), streamer=streamer)
    found = rag.retriever.retrieve(SUPPORTED[:1], 4)[0]
    entries, scores = [rag.prompt.entry_ids(item.passage) for item in found], [item.normalized_score for item in found]
    said = list(rag.prompt.question_ids(SUPPORTED[0]))
    log_probs = []
    for token in streamer.tokens[:6]:
        if token == rag.model.tokenizer.eos_token_id or "\n" in rag.model.tokenizer.decode([token]):
            break
        logits = rag.model(torch.tensor([said]), memory=rag.model.make_memory([entries], [scores])).logits[0, -1]
        log_probs.append(float(torch.log_softmax(logits, -1)[token]))
        said.append(token)
    assert answer.signals.log_prob == pytest.approx(sum(log_probs) / len(log_probs), abs=2e-3)


def test_log_probabilities_by_hand():
    noted, scores = TokenLogProbs(), torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    assert noted(torch.tensor([[7], [7]]), scores) is scores
    noted(torch.tensor([[7, 0], [7, 2]]), scores.flip(0))
    got = noted.of([[0, 1], [2]])
    assert got[0] == pytest.approx(torch.log(torch.tensor([0.5, 0.1])).tolist())
    assert got[1] == pytest.approx([float(torch.log(torch.tensor(0.8)))])
    assert noted.of([[0]]) == [[]], "beams: more rows than answers"


def test_nothing_is_shown_before_it_is_known_what_to_say(rag):
    for question in (SUPPORTED[0], UNSUPPORTED[0], UNSUPPORTED[1]):
        streamer = Collect()
        answer = rag.answer(question, AskOptions(abstain=True, max_new_tokens=12), streamer=streamer)
        assert rag.prompt.answer_text(streamer.tokens) == answer.text
        assert streamer.puts[0] == list(rag.prompt.question_ids(question))


def test_auto_shows_one_answer_only(rag, confidence):
    for needed in (confidence.needed, needed_by("question_mass", 0.99)):
        rag.confidence = ConfidenceModel(needed, confidence.supported)
        for question in (SUPPORTED[0], SMALL_TALK[0]):
            streamer = Collect()
            answer = rag.answer(
                question, AskOptions(use_memory="auto", abstain=True, max_new_tokens=8), streamer=streamer
            )
            assert streamer.puts.count("end") == 1
            assert rag.prompt.answer_text(streamer.tokens) == answer.text


def test_auto_streams_once_it_has_decided(rag):
    seen = []

    class Watch(TextStreamer):
        def put(self, value):
            seen.append(len(passes))
            super().put(value)

        def on_finalized_text(self, text, stream_end=False):
            pass

    passes = []
    counting = rag.model.decoder.model.layers[0].register_forward_hook(lambda *_: passes.append(1))
    try:
        watch = Watch(rag.model.tokenizer)
        rag.answer(SUPPORTED[0], AskOptions(use_memory="auto", max_new_tokens=6), streamer=watch, num_beams=1)
    finally:
        counting.remove()
    first = seen[0]
    assert seen[:2] == [first, first], "the question and the first token come when the first pass is over"
    assert seen[2:] == list(range(first + 1, first + len(seen) - 1)), "the others come one by one"


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"use_memory": "perhaps"}, "use_memory is 'perhaps'; expected one of always, never, auto"),
        ({"use_memory": "auto", "mode": "prompt"}, "judge by attention to memory; mode is 'prompt'"),
        ({"abstain": True, "mode": "closed_book"}, "judge by attention to memory; mode is 'closed_book'"),
        ({"abstain": True, "use_memory": "never"}, 'use_memory="never" leaves it out; give one of them'),
    ],
)
def test_options_that_exclude_each_other_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        AskOptions(**settings)


def test_an_option_beside_the_x_it_belongs(rag):
    with pytest.raises(TypeError, match=r"k is an option: give AskOptions\(k=…\) after the question"):
        rag.answer("Why?", k=2)


@pytest.mark.slow
def test_confidence_fitted_to_a_memory_tells_its_answers_from_those_without_support(rag, confidence):
    written = []
    fitted = fit_confidence(rag, KNOWN, k=2, on_answers=written.append)
    assert fitted.observations == sum(written) == 16
    assert fitted.precision >= 0.75
    assert fitted.recall >= 0.75
    rag.confidence = replace(confidence, supported=fitted.decision)
    supported, unsupported = rag.answer_all([SUPPORTED[0], UNSUPPORTED[0]], AskOptions(k=2))
    assert supported.confidence == fitted.decision(supported.signals) > unsupported.confidence


def test_questions_whose_answer_is_not_in_the_memorys_words_tell_nothing(rag):
    with pytest.raises(ValueError, match="Of 8 questions, 4 have an answer that is in one of the 2 entries"):
        fit_confidence(rag, [*KNOWN[:4], *[(question, "zebra") for question, _ in KNOWN[4:]]], k=2)


@pytest.fixture(scope="module")
def with_words(tmp_path_factory, memory):
    """A copy of the memory, with a lexical index."""
    copy = shutil.copytree(memory, tmp_path_factory.mktemp("words") / "memory")
    add_lexical_index(Memory.open(copy))
    return Memory.open(copy)


@pytest.mark.parametrize(
    "search, question, where",
    [
        ({"kind": "bm25"}, "Zugzwang zebra?", None),
        pytest.param({"kind": "bm25", "reranker": True}, "象棋冠军", None, marks=pytest.mark.slow),
        ({"kind": "dense", "reranker": True}, "？！", None),
        pytest.param({"kind": "dense"}, "Who can borrow a kite?", 'source == "absent.md"', marks=pytest.mark.slow),
        pytest.param({"kind": "hybrid"}, "...", None, marks=pytest.mark.slow),
        ({"kind": "hybrid"}, "Who can borrow a kite?", 'source == "absent.md"'),
    ],
)
def test_an_answer_from_nothing_says_so(rag, with_words, search, question, where):
    reranker = LikelihoodReranker(rag.model, rag.prompt) if "reranker" in search else None
    asked = RAG(with_words, rag.retriever.encoder, rag.model, search=Search(**{**search, "reranker": reranker}))
    for options in ({}, {"mode": "prompt"}, {"use_memory": "auto"}):
        plain = asked.answer(question, AskOptions(where=where, max_new_tokens=3, **options))
        assert (plain.nothing_found, plain.confidence, plain.supported, plain.citations) == (True, 0.0, False, [])
        assert plain.text not in ("not in memory", "记忆中没有")
    streamer = Collect()
    options = AskOptions(where=where, max_new_tokens=3, abstain=True)
    abstaining = asked.answer(question, options, streamer=streamer)
    words = "记忆中没有" if detect_language(question) == "zh" else "not in memory"
    assert (abstaining.text, abstaining.nothing_found, abstaining.confidence) == (words, True, 0.0)
    assert rag.prompt.answer_text(streamer.tokens) == words


def test_in_a_batch_only_those_without_entries_are_answered_from_nothing(rag):
    options = AskOptions(max_new_tokens=12, abstain=True)
    nothing, found = rag.answer_all(["？！", SUPPORTED[0]], options)
    assert (nothing.text, nothing.nothing_found) == ("not in memory", True)
    assert (found.supported, found.nothing_found) == (True, False)
    assert found.text == rag.answer(SUPPORTED[0], options).text


def test_what_is_not_searched_is_not_said_to_find_nothing(rag):
    for options in ({"mode": "closed_book"}, {"use_memory": "never"}):
        answer = rag.answer("？！", AskOptions(max_new_tokens=2, **options))
        assert (answer.nothing_found, answer.confidence, answer.supported) == (False, None, None)


def test_a_reader_may_decline_where_nothing_was_found():
    """However likely it finds an answer; of questions with entries, only those that have little to do with them."""
    reader = load_confidence("unheard of", Path("none"), declines=True)
    drafts = [Draft("Who invented chess?", (), nothing_found=found) for found in (True, False, False)]
    decision = _Decision(drafts, AskOptions(), reader, None)
    assert decision.may_decline([-6.0, -6.0, 40.0]) == [True, False, True]


def test_an_empty_answer_is_supported_by_nothing(rag):
    draft = Draft(SUPPORTED[0], rag.retriever.retrieve(SUPPORTED[:1], 8)[0])
    rag.answer_from([draft], AskOptions(max_new_tokens=4))
    draft.text = ""
    empty = judge(draft, rag.confidence, abstain=False)
    assert (empty.text, empty.confidence, empty.supported, empty.nothing_found) == ("", 0.0, False, False)
    assert judge(draft, rag.confidence, abstain=True).text == "not in memory"


def test_an_answer_that_declines_is_supported_by_nothing_however_well_the_search_went(rag):
    draft = Draft(SUPPORTED[0], rag.retriever.retrieve(SUPPORTED[:1], 8)[0])
    rag.answer_from([draft], AskOptions(max_new_tokens=4))
    assert judge(draft, rag.confidence, abstain=False).supported
    draft.text = "Not in memory."  # in words whose first token was not barred
    declined = judge(draft, rag.confidence, abstain=False)
    assert (declined.text, declined.confidence, declined.supported) == ("Not in memory.", 0.0, False)
