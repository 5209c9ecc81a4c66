"""Summaries of a memory: what is read for each part, what is written, and what each sentence cites."""

from __future__ import annotations

import numpy as np
import pytest
from hashing import HashEncoder
from tiny import TinyReader

from memgpt_rag.answering.answer import Answer, Citation, Timings
from memgpt_rag.answering.attention_trace import AttentionTrace, EntryTrace
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.memory import Memory
from memgpt_rag.passage import TITLE_SEPARATOR, Passage
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.tasks.summaries.outline import Section
from memgpt_rag.tasks.summaries.summarize import SummaryOptions, _Reading, outline, summarize, write
from memgpt_rag.tasks.summaries.summary import Part, cited_sentences
from memgpt_rag.tasks.summaries.wording import part_wanted, title_wanted
from memgpt_rag.tasks.summaries.writer import _REPEATED, Writer, summary_model

HEADINGS = ["Boats", "Kites", "Trains"]
PASSAGES = [
    Passage(f"{heading}#{number}", f"{heading} number {number} is at gate {number * number}, {heading.lower()}.",
            f"Park{TITLE_SEPARATOR}{heading}", "park.md", "", "line", number, number, 0, 9)
    for heading in HEADINGS for number in range(1, 7)
]  # fmt: skip


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    encoder = HashEncoder()
    memory = Memory.create(tmp_path_factory.mktemp("summaries") / "park", PASSAGES, encoder)
    return Writer(memory, encoder, TinyReader()())


def test_what_is_asked_for_names_the_part_without_its_number():
    assert part_wanted("", "en") == "Summary:" and part_wanted("", "zh") == "摘要："
    for heading in ("Chapter 2. Boats", "2.1. Boats", "Boats", "Section 4 Boats", "A.1 Boats", "3. Boats"):
        assert part_wanted(heading, "en") == "Summary of “Boats”:"
    for heading in ("第 2 章 游船", "第三节 游船", "2.1. 游船", "游船"):
        assert part_wanted(heading, "zh") == "“游船”摘要："
    for heading in ("2020 budget", "A day in 2020", "Mr. Boat"):
        assert part_wanted(heading, "en") == f"Summary of “{heading}”:"
    assert title_wanted("zh") == "标题："


def traced_answer(text, tokens, weights):
    """An answer whose tokens have so many characters each and gave so much to each of three entries."""
    ends = np.cumsum(tokens)
    trace = AttentionTrace(
        text,
        tuple(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)),
        tuple(
            EntryTrace(np.array([[weight] for weight in column]), ((0, 4),)) for column in zip(*weights, strict=True)
        ),
    )
    citations = [Citation(passage, 0.0, share) for passage, share in zip(PASSAGES, (0.5, 0.3, 0.2), strict=False)]
    return Answer("", text, "memory", citations, 1.0, Timings(0, 0, 0, 0), trace=trace)


def test_each_sentence_cites_what_its_own_tokens_attended_to():
    weights = [(0.1, 0.2, 0.1), (0.1, 0.4, 0.0), (0.38, 0.02, 0.0)]
    first, second = cited_sentences(traced_answer("Boats go. Kites fly.", (5, 4, 11), weights), cut=False)
    assert (first.text, second.text) == ("Boats go.", "Kites fly.")
    assert [(one.passage.id, one.share) for one in first.sources] == [
        (PASSAGES[1].id, pytest.approx(0.6 / 0.9)), (PASSAGES[0].id, pytest.approx(0.2 / 0.9)),
        (PASSAGES[2].id, pytest.approx(0.1 / 0.9)),
    ]  # fmt: skip
    assert [(one.passage.id, one.share) for one in second.sources] == [(PASSAGES[0].id, pytest.approx(0.95))]


def test_an_unfinished_sentence_is_left_out_where_the_answer_was_cut_and_another_is_whole():
    weights = [(0.1, 0.2, 0.1)] * 3
    unfinished = traced_answer("Boats go. Kites fl", (5, 4, 9), weights)
    assert [one.text for one in cited_sentences(unfinished, cut=True)] == ["Boats go."]
    assert [one.text for one in cited_sentences(unfinished, cut=False)] == ["Boats go.", "Kites fl"]
    assert [one.text for one in cited_sentences(traced_answer("Kites fl", (3, 3, 2), weights), cut=True)] == [
        "Kites fl"
    ]


def test_sentences_of_a_part_are_joined_as_their_language_does_it():
    said = [*cited_sentences(traced_answer("Boats go. Kites fly.", (5, 4, 11), [(1, 0, 0)] * 3), cut=False)]
    assert Part("", tuple(said), 1, 1).text == "Boats go. Kites fly."
    said = [*cited_sentences(traced_answer("船在走。风筝在飞。", (4, 4, 1), [(1, 0, 0)] * 3), cut=False)]
    assert Part("", tuple(said), 1, 1).text == "船在走。风筝在飞。"


def test_a_part_reads_its_own_section_and_what_was_not_read_comes_first(writer):
    rows = tuple(range(6, 12))
    reading = _Reading(writer.rag, Section("Kites", rows), "Kites", 2)
    read = [[entry.row for entry in reading(latest)] for latest in ("", "Kites number 3", "gate 16", "Kites")]
    assert sorted(row for group in read[:3] for row in group) == list(rows)
    found = writer.rag.retriever.retrieve(["Kites\nKites"], 18)[0]
    best = [entry.row for entry in found if entry.row in rows]
    assert read[3] == best[:2]  # once all were read, the best come again


def test_a_section_that_fits_is_read_whole_and_alike(writer):
    reading = _Reading(writer.rag, Section("Kites", (6, 9)), "Kites", 4)
    assert reading("") == reading("other") == [Retrieved(row, PASSAGES[row], 0.0, 0.0) for row in (6, 9)]


def runs(tokens):
    return [tuple(tokens[at : at + _REPEATED]) for at in range(len(tokens) - _REPEATED + 1)]


def test_nothing_is_written_twice_within_a_part_and_in_two_parts(writer):
    entries, earlier = [Retrieved(row, PASSAGES[row], 0.0, 0.0) for row in range(3)], []
    ends = []
    for _ in range(3):  # of the same entries: without the bar, the same text three times
        writer.part("Boats", entries, AskOptions(k=3, max_new_tokens=48), earlier)
        ends.append(len(earlier))
    parts = [earlier[start:end] for start, end in zip([0, *ends], ends)]
    assert min(map(len, parts)) >= 12  # a quarter of its length at least, whatever the model would rather do
    written = [run for part in parts for run in runs(part)]
    assert len(written) == len(set(written)) > 0


def test_a_summary_tells_of_each_section_from_its_own_entries(writer):
    options = SummaryOptions(parts=3, k=2, part_tokens=24, retrieve_every=8)
    planned = outline(writer, options)
    assert [(section.heading, section.rows) for section in planned] == [
        (heading, tuple(range(6 * place, 6 * place + 6))) for place, heading in enumerate(HEADINGS)
    ]
    parts = [*write(writer, planned, options)]
    assert [part.heading for part in parts] == HEADINGS
    for part in parts:
        assert (part.passages, part.read) == (6, 6)  # three times two, none of them twice
        cited = [one.passage.id for sentence in part.sentences for one in sentence.sources]
        assert cited and all(id.startswith(part.heading) for id in cited)
        for sentence in part.sentences:
            shares = [one.share for one in sentence.sources]
            assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.000001
        shown = part.to_dict()
        assert shown["text"] == part.text and len(shown["sentences"]) == len(part.sentences)
    assert [part.to_dict() for part in summarize(writer, options)] == [part.to_dict() for part in parts]


def test_entries_stay_where_nothing_is_to_be_renewed(writer):
    options = SummaryOptions(parts=3, k=2, part_tokens=24, retrieve_every=None)
    assert [part.read for part in summarize(writer, options)] == [2, 2, 2]
    options = SummaryOptions(parts=3, k=6, part_tokens=24, retrieve_every=1)
    assert [part.read for part in summarize(writer, options)] == [6, 6, 6]


def test_topics_are_named_by_the_model(writer):
    planned = outline(writer, SummaryOptions(parts=3, outline="topics", k=2))
    assert sorted(row for section in planned for row in section.rows) == list(range(18))
    for section in planned:
        central = [Retrieved(row, PASSAGES[row], 0.0, 0.0) for row in section.central]
        assert section.heading == writer.titles([central])[0]


def test_a_text_about_a_subject_is_written_from_what_is_found_for_it(writer):
    options = SummaryOptions(about="Kites number", parts=1, k=2)
    (section,) = outline(writer, options)
    found = writer.rag.retriever.retrieve(["Kites number"], 16)[0]
    assert section.rows == tuple(sorted(entry.row for entry in found))
    planned = outline(writer, SummaryOptions(where='title == "Park › Trains"', parts=1))
    assert [section.rows for section in planned] == [tuple(range(12, 18))]


def test_states_that_a_memory_stores_for_questions_are_not_taken(writer):
    from memgpt_rag.model.prompt import Prompt

    model = TinyReader()()
    plain = summary_model(model)
    assert plain.prompt.prefix_ids == plain.prompt.example_ids and not plain.prompt.example_answers
    assert len(plain.prompt.prefix_ids) < len(Prompt(model.tokenizer).prefix_ids)
    assert summary_model(plain) is plain


def test_what_cannot_be_summarised_is_refused(writer):
    with pytest.raises(ValueError, match="There is no outline 'chapters'; expected one of auto, headings, topics."):
        SummaryOptions(outline="chapters")
    for name, value, bounds in (("parts", 0, "1 to 100"), ("k", 0, "1 to 1,000"), ("part_tokens", 7, "8 to 4,096"),
                                ("retrieve_every", 0, "1 to 4,096")):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} is {value}; expected {bounds}."):
            SummaryOptions(**{name: value})
    with pytest.raises(ValueError, match="No entry was found to write about; change the condition"):
        outline(writer, SummaryOptions(where='source == "other.md"'))
    with pytest.raises(ValueError, match="There is no column 'year'"):
        outline(writer, SummaryOptions(where="year > 2000"))


@pytest.mark.slow
@pytest.mark.offline_models
def test_the_demo_is_summarised_in_words_of_its_passages(memory, e5, gemma):
    writer = Writer(Memory.open(memory), e5, gemma)
    options = SummaryOptions(where='source == "park.md"', parts=3, k=2, part_tokens=32, retrieve_every=16)
    parts = summarize(writer, options)
    assert len(parts) == 3 and all(part.text for part in parts)
    copied = written = (
        0  # pairs of characters: most words are those of the passages, though "six in the morning" may become "6 am"
    )
    for part in parts:
        for sentence in part.sentences:
            best = sentence.sources[0].passage
            assert best.source == "park.md"
            pairs = {sentence.text[at : at + 2] for at in range(len(sentence.text) - 1)}
            copied, written = copied + sum(pair in best.titled_text for pair in pairs), written + len(pairs)
    assert copied > 0.6 * written
