"""The quote of an answer: whole sentences, lines or items, chosen by attention and words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hashing import passage

from memgpt_rag.answering.answer import Timings
from memgpt_rag.answering.attention_trace import AttentionTrace, EntryTrace
from memgpt_rag.answering.confidence import ConfidenceModel, LogisticModel
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.judge import judge
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.quote import Quote, answer_helps, attention_shares, is_given_back, quote
from memgpt_rag.answering.text_units import completed, text_units, widened
from memgpt_rag.retrieval.retriever import Retrieved

LISTED = """Some common ways to use it are:

* To find packages:

apt search word

* To show one:

apt show package

More is in the manual. It is long."""


def units(text: str) -> list[str]:
    return [text[start:end] for start, end in text_units(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("It opens at six. It closes at ten!", ["It opens at six.", "It closes at ten!"]),
        (
            "Dr. J. R. Smith, e.g. of the U.S. army, paid 3.5 m. He left (early).",
            ["Dr. J. R. Smith, e.g. of the U.S. army, paid 3.5 m. He left (early)."],
        ),
        ('He said "Hi." Then he left.', ['He said "Hi."', "Then he left."]),
        ("Run foo.sh now. See 3.2. Then stop.", ["Run foo.sh now.", "See 3.2.", "Then stop."]),
        ("3.2. Where is it? Here.", ["3.2. Where is it?", "Here."]),
        (
            "公园六点开门。他说：“好。”然后走了！真的？是",
            ["公园六点开门。", "他说：“好。”", "然后走了！", "真的？", "是"],
        ),
        ("版本 3.5 很好。See it. 好。", ["版本 3.5 很好。", "See it.", "好。"]),
        ("- Open it. Wait.\n- Close it.\n  Lock it.\nGo.", ["- Open it. Wait.", "- Close it.\n  Lock it.", "Go."]),
        ("1、打开。等。\n2、关闭", ["1、打开。等。", "2、关闭"]),
        ("Run:\n\n    apt update\n    apt upgrade\n\nWait.", ["Run:", "    apt update\n    apt upgrade", "Wait."]),
        ("Run:\n```\na. B\n\nc\n```\nWait.", ["Run:", "```\na. B\n\nc\n```", "Wait."]),
        ("$ apt update\n$ apt upgrade", ["$ apt update", "$ apt upgrade"]),
        (" \n\n ", []),
        ("", []),
    ],
)
def test_units_are_sentences_lines_items_and_code(text, expected):
    assert units(text) == expected


def test_nothing_but_white_space_stands_between_units():
    text = f"{LISTED}\n\n公园六点开门。 十点关门。\n```\nx\n```\n"
    found = text_units(text)
    assert found == sorted(found)
    between = [text[end:start] for (_, end), (start, _) in zip([(0, 0), *found], [*found, (len(text), 0)], strict=True)]
    assert "".join(between).strip() == ""


def test_a_long_list_item_is_quoted_by_the_sentence():
    item = "- " + "It is open every day of the week. " * 20
    assert len(units(item)) == 20


def test_a_line_with_a_colon_is_quoted_with_what_it_introduces():
    found = text_units(LISTED)

    def whole(place: int) -> str:
        start, end = completed(LISTED, found, place)
        return LISTED[start:end]

    assert whole(2) == "* To find packages:\n\napt search word", "the command with the item before it"
    assert whole(3) == whole(4) == "* To show one:\n\napt show package"
    assert whole(0) == LISTED.split("\n\nMore")[0]
    assert whole(5) == "More is in the manual."
    steps = "Do this:\n1. Open it.\n2. Close it.\nThen go."
    start, end = completed(steps, text_units(steps), 0)
    assert steps[start:end] == "Do this:\n1. Open it.\n2. Close it."
    long = "Do this:\n" + "\n".join(f"{number}. Open it and close it." for number in range(1, 60))
    start, end = completed(long, text_units(long), 0)
    assert long.startswith("Do this:\n1. ") and 400 < end - start <= 600


def traced(text: str, weights: dict[str, float]) -> EntryTrace:
    """A trace with a token a character, of which those of some words got weight."""
    row = np.zeros(len(text))
    for word, weight in weights.items():
        at = text.index(word)
        row[at : at + len(word)] = weight / len(word)
    return EntryTrace(row[None], tuple((place, place + 1) for place in range(len(text))))


TEXT = "Boats cost 40 yuan. Kites are free. Dogs stay out."


def test_the_unit_with_the_most_attention_is_quoted():
    for said in ("Boats", "Kites", "Dogs"):
        found = quote("What?", "nothing of it", passage(1, TEXT), traced(TEXT, {said: 0.5, "are": 0.1}))
        assert found.text.startswith(said)
        assert TEXT[found.start : found.end] == found.text
        assert found.passage == passage(1, TEXT)


def test_a_span_is_widened_by_the_units_around_it_as_long_as_they_fit():
    found = text_units(TEXT)

    def words(place: int, most: int) -> str:
        return TEXT[slice(*widened(TEXT, found, found[place], most))]

    assert words(1, 0) == words(1, 29) == "Kites are free.", "a span is never cut"
    assert words(1, 30) == "Kites are free. Dogs stay out.", "what follows comes first"
    assert words(2, 30) == "Kites are free. Dogs stay out."
    assert words(0, len(TEXT)) == words(2, len(TEXT)) == TEXT
    assert words(0, len(TEXT) - 1) == "Boats cost 40 yuan. Kites are free."
    counted = " ".join(f"It is {place}." for place in range(10, 20))
    places = text_units(counted)

    def around(place: int, most: int) -> list[str]:
        start, end = widened(counted, places, places[place], most)
        return [counted[slice(*unit)][6:8] for unit in places if start <= unit[0] and unit[1] <= end]

    assert around(4, 9 + 10) == ["14", "15"]
    assert around(4, 9 + 20) == ["13", "14", "15"]
    assert around(4, 9 + 40) == ["12", "13", "14", "15", "16"], "both sides grow in turn"
    chinese = "公园六点开门。十点关门。"
    assert widened(chinese, text_units(chinese), (0, 7), 23) == (0, 7), "a Chinese character takes two columns"
    assert widened(chinese, text_units(chinese), (0, 7), 24) == (0, 12)
    listed = text_units(LISTED)
    whole = completed(LISTED, listed, 2)
    wider = widened(LISTED, listed, whole, 110)
    assert wider[0] <= whole[0] < whole[1] < wider[1] and wider[1] - wider[0] <= 110
    assert {wider[0], wider[1]} <= {place for unit in listed for place in unit}


def test_a_span_is_not_widened_by_a_line_that_introduces_what_does_not_fit():
    text = "Boats are rented at the gate.\nRun this to start:\n    " + "x" * 50
    found = text_units(text)
    assert widened(text, found, found[0], 60) == found[0]
    assert widened(text, found, found[0], 200) == (0, len(text))
    assert widened(text, found, found[1], 60) == (0, found[1][1]), "what was chosen stays"


def test_a_quote_that_leads_brings_the_sentences_around_it():
    weights = traced(TEXT, {"Kites": 0.5})
    assert quote("What?", "no", passage(1, TEXT), weights).text == "Kites are free."
    assert quote("What?", "no", passage(1, TEXT), weights, leads=True).text == TEXT
    long = " ".join(f"Boat {number} costs {number} yuan an hour." for number in range(10, 60))
    found = quote("What?", "no", passage(1, long), traced(long, {"Boat 30": 1.0}), leads=True)
    assert "Boat 30 costs" in found.text and 350 < len(found.text) <= 400
    assert long.startswith(found.text, found.start) and found.text.endswith("hour.")


def test_an_answer_helps_where_it_says_something_of_its_own_that_may_be_supported():
    assert answer_helps("Who?", "children", True) and answer_helps("Who?", "children", None)
    assert not answer_helps("Who?", "children", False)
    assert not answer_helps("Who?", "", True)
    assert not answer_helps("Who can borrow a kite?", "a kite", True)


def test_punctuation_and_line_breaks_do_not_count():
    shares = attention_shares(TEXT, text_units(TEXT), traced(TEXT, {".": 0.9, "Kites": 0.1}))
    np.testing.assert_allclose(shares, [0, 1, 0])


def test_words_decide_where_attention_is_not_known():
    assert quote("What do boats cost?", "", passage(1, TEXT), None).text == "Boats cost 40 yuan."
    assert quote("What?", "free", passage(1, TEXT), None).text == "Kites are free."
    assert quote("狗？", "", passage(1, " \n"), None) is None


def test_a_phrase_of_the_question_is_no_answer_unless_it_was_offered():
    assert is_given_back("Who can borrow a kite?", "a kite.")
    assert is_given_back("公园几点开门？", "公园")
    assert not is_given_back("Is it red or blue?", "Blue")
    assert not is_given_back("是红的还是蓝的？", "蓝的")
    assert not is_given_back("Who can borrow a kite?", "children")
    assert not is_given_back("Who?", "")


ENTRIES = (passage(1, TEXT), passage(2, "Dogs stay outside. Kites rest."), passage(3, "Tea is hot."))


def judged(mass, *, odds=-9.0, abstain=False, entries=ENTRIES, traces=None, rate=None):
    draft = Draft("What?", route="memory", text="no", mass=list(mass), timings=Timings(0, 0, 0, 0))
    draft.trace = None if traces is None else AttentionTrace("no", ((0, 2),), tuple(traces))
    draft.entries = [Retrieved(row, one, 1.0, 1.0) for row, one in enumerate(entries)]
    draft.rate = rate
    supported = LogisticModel({}, odds, 0.5)
    return judge(draft, ConfidenceModel(supported, supported), abstain=abstain)


def test_where_the_quote_leads_the_entry_cited_second_is_quoted_if_its_share_is_three_tenths_of_the_first():
    near = judged([0.05, 0.16, 0.04])
    assert near.leads == "quote"
    assert [one.passage for one in near.citations] == [ENTRIES[1], ENTRIES[0], ENTRIES[2]]
    assert near.quote == Quote(ENTRIES[1], 0, len(ENTRIES[1].text))
    assert near.second_quote == Quote(ENTRIES[0], 0, len(TEXT))
    assert near.to_dict()["second_quote"]["text"] == TEXT
    far = judged([0.046, 0.16, 0.01])
    assert (far.leads, far.quote, far.second_quote) == ("quote", near.quote, None)
    assert far.to_dict()["second_quote"] is None


def test_where_the_quote_leads_the_entry_is_quoted_that_makes_the_question_likely_too():
    """Each quote by its share × e^(4 · mean log-likelihood); citations stay in the order of the shares."""
    seen = []

    def rate(likelihoods):
        def rated(entries):
            seen.append([entry.passage for entry in entries])
            return [likelihoods[ENTRIES.index(entry.passage)] for entry in entries]

        return rated

    near = judged([0.05, 0.16, 0.04], rate=rate([-2.0, -2.4, -2.0]))
    assert seen == [[ENTRIES[1], ENTRIES[0], ENTRIES[2]]]
    assert [one.passage for one in near.citations] == seen[0]
    assert (near.quote.passage, near.second_quote.passage) == (ENTRIES[0], ENTRIES[2]), (
        ".05 and .04 beside .16 · e^−1.6 = .032"
    )
    far = judged([0.05, 0.16, 0.04], rate=rate([-2.0, -2.3, -3.0]))
    assert (far.quote.passage, far.second_quote.passage) == (ENTRIES[0], ENTRIES[1]), ".16 · e^−1.2 = .048"
    alone = judged([0.05, 0.16, 0.04], rate=rate([-2.0, -3.0, -3.0]))
    assert (alone.quote.passage, alone.second_quote) == (ENTRIES[0], None)
    assert alone.timings.complete > 0 == judged([0.05, 0.16, 0.04]).timings.complete
    seen.clear()
    judged([0.2], entries=ENTRIES[:1], rate=rate([-1.0]))
    judged([0.05, 0.16, 0.04], abstain=True, rate=rate([-1.0] * 3))
    helps = judged([0.05, 0.16, 0.04], odds=9.0, rate=rate([0.0, -9.0, -9.0]))
    assert (seen, helps.quote.passage) == ([], ENTRIES[1]), "nothing is rated where one quote can lead, or none"


def test_of_many_entries_those_with_the_largest_shares_are_rated():
    entries = tuple(passage(number, f"Boat {number}.") for number in range(12))
    counts = []
    found = judged(
        [0.1 + 0.01 * number for number in range(12)],
        entries=entries,
        rate=lambda one: counts.append(len(one)) or [-1.0] * len(one),
    )
    assert (counts, found.quote.passage) == ([8], entries[11])


def test_each_quote_is_what_attention_went_to_in_its_own_entry():
    first, second = (
        "".join(f"{name} {place} is here, by the lake in the park. " for place in range(40)) for name in ("Boat", "Dog")
    )
    entries = (passage(1, first), passage(2, second))
    traces = [traced(first, {"Boat 30": 1.0}), traced(second, {"Dog 5": 1.0})]
    found = judged([0.1, 0.1], entries=entries, traces=traces)
    assert "Boat 30 " in found.quote.text and "Boat 5 " not in found.quote.text
    assert "Dog 5 " in found.second_quote.text and "Dog 30 " not in found.second_quote.text


def test_a_second_quote_says_something_else_and_attention_went_to_it():
    same = judged([0.1, 0.1], entries=(ENTRIES[0], passage(9, TEXT)))
    assert (same.quote.text, same.second_quote) == (TEXT, None)
    assert judged([0.0, 0.0, 0.0]).second_quote is None


def test_there_is_one_quote_below_an_answer_that_helps_and_none_after_abstaining():
    supported = judged([0.1, 0.16, 0.04], odds=9.0)
    assert (supported.leads, supported.second_quote) == ("answer", None)
    assert supported.quote is not None
    abstained = judged([0.1, 0.16, 0.04], abstain=True)
    assert (abstained.quote, abstained.second_quote, abstained.leads) == (None, None, "answer")


def test_one_entry_and_entries_without_text_have_no_second_quote():
    assert judged([0.2], entries=ENTRIES[:1]).second_quote is None
    blank = judged([0.2, 0.1], entries=(ENTRIES[0], passage(2, " ")))
    assert blank.quote is not None and blank.second_quote is None
    first = judged([0.2, 0.1], entries=(passage(2, " "), ENTRIES[0]))
    assert (first.quote, first.second_quote, first.leads) == (Quote(ENTRIES[0], 0, len(TEXT)), None, "quote")
    likely = judged([0.2, 0.1], entries=(ENTRIES[0], passage(2, " ")), rate=lambda entries: [-9.0, -1.0])
    assert likely.quote.passage == ENTRIES[0], "what has no text is not quoted, however likely"
    none = judged([0.2, 0.1], entries=(passage(1, " "), passage(2, " ")))
    assert (none.quote, none.second_quote, none.leads) == (None, None, "answer")


@pytest.mark.parametrize("rate", [lambda entries: None, lambda entries: torch.zeros(2) @ torch.zeros(3)])
def test_where_entries_cannot_be_rated_shares_decide_and_the_answer_stays(rate):
    by_shares, found = judged([0.05, 0.16, 0.04]), judged([0.05, 0.16, 0.04], rate=rate)
    assert (found.text, found.quote, found.second_quote) == (by_shares.text, by_shares.quote, by_shares.second_quote)


@pytest.mark.offline_models
def test_answers_from_memory_have_a_quote_that_supports_them(rag):
    asked = [
        ("How much does it cost to rent a rowing boat?", "40 yuan"),
        ("Who can borrow a kite?", "under twelve"),
        ("遛狗必须怎么做？", "牵绳"),
        ("Who won the 1998 World Cup?", ""),
    ]
    answers = rag.answer_all([question for question, _ in asked], AskOptions(max_new_tokens=12))
    for (_, holds), answer in zip(asked, answers, strict=True):
        found = answer.quote
        assert isinstance(found, Quote)
        assert found.passage == answer.citations[0].passage
        assert holds in found.text
        assert len(found.text) < len(found.passage.text)
    assert [answer.leads for answer in answers] == ["answer"] * 3 + ["quote"]


@pytest.mark.offline_models
def test_what_is_not_from_memory_has_no_quote(rag):
    question, few = "Who can borrow a kite?", {"max_new_tokens": 4}
    for options in ({"mode": "prompt"}, {"mode": "closed_book"}, {"use_memory": "never"}):
        answer = rag.answer(question, AskOptions(**options, **few))
        assert (answer.quote, answer.leads) == (None, "answer")
    abstained = rag.answer("Who won the 1998 World Cup?", AskOptions(abstain=True, **few))
    assert (abstained.text, abstained.quote, abstained.leads) == ("not in memory", None, "answer")
    beams = rag.answer(question, AskOptions(**few), num_beams=2)
    assert beams.quote is not None, "by words alone"
