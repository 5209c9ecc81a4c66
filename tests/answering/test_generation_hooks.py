"""What looks on while a model writes: examples that must not be recited, tokens behind an answer that are not shown."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.answering.declining import Declining
from memgpt_rag.answering.generation_hooks import AnswerStreamer, BarRecital, StopAtEnd
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.model.answer_text import AnswerEnd
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.tokenizer import bpe_tokenizer, byte_tokenizer

TOKENIZER = byte_tokenizer()
END = AnswerEnd(TOKENIZER, itself=False)


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def barred(read: list[str | None], written: str, asked: int = 3) -> list[str]:
    """The letters that must not follow, one text per row."""
    bar = BarRecital([ids("1891年"), ids("about 6")], TOKENIZER.decode, read)
    rows = 2 * len(read)  # as with two beams
    for place in range(len(ids(written)) + 1):
        seen = torch.tensor([[0] * asked + ids(written)[:place]] * rows)
        scores = bar(seen, torch.zeros(rows, 256))
    found = [TOKENIZER.decode(row.isinf().nonzero()[:, 0].tolist()) for row in scores]
    assert found[::2] == found[1::2]
    return found[::2]


def test_an_example_is_not_recited_further_than_an_entry_goes_with_it():
    assert barred(["It was built in 1876, about 60 years ago.", "Nothing.", None], "") == ["", "1a", ""]
    assert barred(["It was built in 1876.", "In 1891年 it was built.", None], "18") == ["9", "", ""]
    assert barred(["It was built in 1876, about 60 years ago."], "about ") == [""]
    assert barred(["about 5 years"], "about ") == ["6"]
    assert barred(["Nothing."], "x") == [""], "only at the beginning of an answer"
    assert barred(["Nothing."], "x1") == [""]
    assert barred(["Nothing."], "12345678901") == [""], "longer than any example"


def test_a_reader_is_barred_from_declining_where_it_may_not_at_its_first_token():
    prompt = Prompt(TOKENIZER, worked_examples=False)
    asked, scores = torch.zeros(6, 3, dtype=torch.int64), torch.randn(6, 256, generator=torch.manual_seed(0))
    firsts = [ids(text)[0] for text in (" not in memory", "记忆中没有", " not in memory")]
    seen: list[float] = []

    def may_decline(log_odds):
        seen.extend(log_odds)
        return [True, False, False]

    declining = Declining(prompt, ["Where?", "在哪里？", "Where?"], may_decline, ["A boat."] * 3)
    changed = declining(asked, scores)
    chances = scores[::2].softmax(-1)[torch.arange(3), firsts]
    assert seen == pytest.approx((chances / (1 - chances)).log().tolist(), abs=1e-5)
    expected = scores.clone()
    for beam in (2, 3, 4, 5):
        expected[beam, firsts[beam // 2]] = -torch.inf
    assert torch.equal(changed, expected)
    assert torch.equal(declining(torch.zeros(6, 4, dtype=torch.int64), scores), scores) and len(seen) == 3


def test_a_reader_is_barred_from_declining_in_either_spelling():
    tokenizer = bpe_tokenizer([" not in memory, Not in memory"] * 40, 300)
    prompt, scores = Prompt(tokenizer, worked_examples=False), torch.zeros(1, len(tokenizer))
    changed = Declining(prompt, ["Where?"], lambda log_odds: [False], ["It is not a Boat."])(
        torch.zeros(1, 3, dtype=torch.int64), scores
    )
    barred = [tokenizer.decode(place) for place in changed[0].isinf().nonzero().flatten().tolist()]
    assert sorted(word.strip() for word in barred) == ["Not", "not"]


@pytest.mark.parametrize(
    "question, entry, wanted, shown",
    [
        ("Which film?", "The film is called Not in my Boat.", "Not in my Boat.", "Not in my Boat."),
        ("Which film?", "The film is called Not in my Boat.", "Not in memory", "Not in "),
        ("Which film?", "A film.", "Not in my Boat.", ""),
        ("Which film?", "Nothing is free. Note the time.", "Not in my Boat.", ""),
        ("May I park?", "It is not in use.", "not in use", ""),
        ("口号是什么？", "口号是记忆中的湖。", "记忆中的湖", ""),
    ],
)
def test_what_an_entry_holds_may_be_written_where_a_reader_may_not_decline(question, entry, wanted, shown):
    """Up to the token with which it would decline; behind the first token of the usual spelling it would go on to say no."""
    words = [" not", " Not", " in", " memory", " my", " Boat.", " use", "记忆", "中", "没有", "的湖"]
    tokenizer = bpe_tokenizer(["".join(pair) for pair in product(words, words)] * 2, 330)
    prompt = Prompt(tokenizer, worked_examples=False)
    declining = Declining(prompt, [question], lambda log_odds: [False], [entry])
    tokens, written = list(prompt.answer_ids(question, wanted)[0]), []
    for token in tokens:
        scores = declining(torch.tensor([[0, 0, 0, *written]]), torch.zeros(1, len(tokenizer)))
        if scores[0, token].isinf():
            break
        written.append(token)
    assert shown.startswith(text := tokenizer.decode(written).strip()) and (not shown or text), text
    assert (written == tokens) == (wanted == shown)


class Collect(BaseStreamer):
    def __init__(self):
        self.puts = []

    def put(self, value):
        self.puts.append(TOKENIZER.decode(value.flatten().tolist()))

    def end(self):
        self.puts.append("end")


@pytest.mark.parametrize(
    "written", [" 40 yuan\n\nThe", "\n1. Tea\n2. Milk\n\nThe lake is deep", " J. Smith\nThe lake is"]
)
def test_only_the_answer_is_streamed_and_as_soon_as_it_is_certain(written):
    collected = Collect()
    streamer = AnswerStreamer(collected, END)
    streamer.put(torch.tensor([ids("Why?\nAnswer:")]))
    for token in ids(written):
        streamer.put(torch.tensor([token]))
    streamer.end()
    assert collected.puts[0] == "Why?\nAnswer:"
    assert collected.puts[-1] == "end"
    assert "".join(collected.puts[1:-1]).strip() == END.text(ids(written))
    assert collected.puts[1:3] == list(written[:2]) or written[0] == "\n"


def test_each_row_stops_at_its_own_end():
    stop = StopAtEnd(END)
    rows = [[7, *ids(" 40\n")], [7, *ids(" Run:")], [7, *ids(" 1. a")]]
    width = max(map(len, rows))
    stopped = []
    for place in range(2, width + 1):
        stopped.append(stop(torch.tensor([(row + ids(".....\n"))[:place] for row in rows]), None).tolist())
    assert stopped[0] == [False] * 3
    assert stopped[3] == [True, False, False], stopped


@pytest.mark.offline_models
def test_what_no_entry_holds_is_not_recited_and_what_one_holds_is_said(rag, monkeypatch):
    options = AskOptions(max_new_tokens=8)
    for question, is_held in (("Who won the 1998 World Cup?", False), ("Who can borrow a kite?", True)):
        said = rag.answer(question, options).text
        examples = tuple(rag.prompt.token_ids(space + said) for space in ("", " "))
        with monkeypatch.context() as patch:
            patch.setitem(rag.prompt.__dict__, "example_answers", examples)
            assert (rag.answer(question, options).text == said) == is_held
            closed = AskOptions(mode="closed_book", max_new_tokens=8)
            assert rag.answer(said, closed).text, "nothing is barred where nothing is read"
