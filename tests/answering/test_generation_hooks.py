"""What looks on while a model writes: examples that must not be recited, tokens behind an answer that are not shown."""

from __future__ import annotations

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


def test_a_reader_is_barred_from_declining_where_it_may_not_and_at_its_first_token_alone():
    prompt = Prompt(TOKENIZER, worked_examples=False)
    asked, scores = torch.zeros(6, 3, dtype=torch.int64), torch.randn(6, 256, generator=torch.manual_seed(0))
    firsts = [ids(text)[0] for text in (" not in memory", "记忆中没有", " not in memory")]
    others = [
        [],
        [ids(text)[0] for text in ("not in memory", "Not in memory")],
        [],
    ]  # in English, all begin with a space
    seen: list[float] = []

    def may_decline(log_odds):
        seen.extend(log_odds)
        return [True, False, False]

    declining = Declining(prompt, ["Where?", "在哪里？", "Where?"], lambda place: [], may_decline)
    changed = declining(asked, scores)
    chances = scores[::2].softmax(-1)[torch.arange(3), firsts]
    assert seen == pytest.approx((chances / (1 - chances)).log().tolist(), abs=1e-5)
    expected = scores.clone()
    for beam in (2, 3, 4, 5):
        expected[beam, [firsts[beam // 2], *others[beam // 2]]] = -torch.inf
    assert torch.equal(changed, expected)
    assert torch.equal(declining(torch.zeros(6, 4, dtype=torch.int64), scores), scores) and len(seen) == 3


def test_a_reader_is_barred_from_declining_in_either_spelling():
    tokenizer = bpe_tokenizer([" not in memory, Not in memory"] * 40, 300)
    prompt, scores = Prompt(tokenizer, worked_examples=False), torch.zeros(1, len(tokenizer))
    declining = Declining(prompt, ["Where?"], lambda place: [], lambda log_odds: [False])
    changed = declining(torch.zeros(1, 3, dtype=torch.int64), scores)
    barred = {tokenizer.decode(place).strip() for place in changed[0].isinf().nonzero().flatten().tolist()}
    assert barred >= {"Not", "not"}


def test_an_answer_that_may_not_decline_begins_with_a_word_of_an_entry():
    prompt = Prompt(TOKENIZER, worked_examples=False)
    read = {0: ids("two kites\n(…)"), 1: ids("\n"), 2: ids(" kites")}
    scores = torch.zeros(3, 256)
    no, declines = ids("q")[0], ids(" not in memory")[0]
    scores[:, no] = 1.0
    scores[:2, declines] = 2.0  # the third would not have declined
    declining = Declining(prompt, ["Where?"] * 3, read.__getitem__, lambda log_odds: [False] * 3)
    changed = declining(torch.zeros(3, 3, dtype=torch.int64), scores)
    possible = [set(row.isfinite().nonzero().flatten().tolist()) for row in changed]
    assert possible[0] == {*ids("twokites")}, (
        "neither a line break nor a bracket; the space is barred, since it declines"
    )
    assert no in possible[1], "no word is there to begin with"
    assert no in possible[2] and declines not in possible[2]
    later = declining(torch.zeros(3, 4, dtype=torch.int64), scores)
    assert torch.equal(later, scores), "a space declines nothing"


def test_a_number_may_be_the_answer_that_does_not_decline():
    tokenizer = bpe_tokenizer([" not in memory, Not in memory"] * 40, 300)
    prompt = Prompt(tokenizer, worked_examples=False)
    (space, *_), number = prompt.token_ids(" 1860"), prompt.token_ids("in the year 1860")
    assert tokenizer.decode([space]) == " ", "as in Gemma's vocabulary, whose numbers have a token a digit"
    scores = torch.zeros(1, len(tokenizer))
    scores[0, prompt.answer_ids("When?", "not in memory")[0][0]] = 1.0
    declining = Declining(prompt, ["When?"], lambda place: number, lambda log_odds: [False])
    changed = declining(torch.zeros(1, 3, dtype=torch.int64), scores)
    assert changed[0, space].isfinite()


def test_an_answer_that_may_not_decline_does_not_do_so_later_in_other_words_than_those_of_its_entries():
    tokenizer = bpe_tokenizer(["记忆中没有, not in memory, Not in memory"] * 40, 400)
    prompt = Prompt(tokenizer, worked_examples=False)
    declines = [prompt.answer_ids("在哪里？", one)[0][0] for one in ("记忆中没有", "not in memory", "Not in memory")]
    scores = torch.zeros(2, len(tokenizer))
    scores[:, declines[0]] = 2.0
    read = {0: (), 1: prompt.token_ids("记忆中没有")}
    declining = Declining(prompt, ["在哪里？"] * 2, read.__getitem__, lambda log_odds: [False] * 2)
    declining(torch.zeros(2, 3, dtype=torch.int64), scores)
    later = declining(torch.zeros(2, 4, dtype=torch.int64), scores)
    assert later[0].isinf().nonzero().flatten().tolist() == sorted(declines)
    assert later[1].isinf().nonzero().flatten().tolist() == sorted({*declines} - {*read[1]})
    assert declines[0] in read[1]


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
