"""What `memgpt-rag ask` prints for programs and for people, from the models that come as packages."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.cli.ask import _summary
from memgpt_rag.cli.main import main
from memgpt_rag.io.console import take_back
from memgpt_rag.rag import RAG

pytestmark = pytest.mark.offline_models
QUESTION = "How much does it cost to rent a rowing boat?"


@pytest.fixture
def ask(memory, rag, monkeypatch):
    """The command over the models that other tests have loaded."""
    monkeypatch.setattr(RAG, "open", classmethod(lambda cls, *arguments, **settings: rag))

    def invoke(*arguments, given=""):
        words = ["ask", *arguments, "--memory", str(memory), "--max-new-tokens", "12"]
        done = CliRunner().invoke(main, words, input=given)
        assert done.exit_code == 0, done.output
        return done.stdout

    return invoke


def test_json_is_one_object_with_everything(ask, rag):
    shown = json.loads(ask(QUESTION, "--json"))
    answer = rag.answer(QUESTION, AskOptions(max_new_tokens=12))
    assert (shown["question"], shown["text"], shown["mode"]) == (QUESTION, answer.text, "memory")
    assert shown["confidence"] == pytest.approx(answer.confidence, abs=1e-6)
    assert shown["supported"] is True
    first, citation = shown["citations"][0], answer.citations[0]
    assert (first["id"], first["text"], first["place"]) == (
        citation.passage.id,
        citation.passage.text,
        citation.passage.place,
    )
    assert first["source"] == "park.md"
    assert [one["share"] for one in shown["citations"]] == pytest.approx(
        [one.share for one in answer.citations], abs=1e-6
    )
    assert sum(one["share"] for one in shown["citations"]) == pytest.approx(1)
    assert 0 < shown["timings"]["first_token"] < shown["timings"]["complete"]


def test_the_quote_stands_below_an_answer_that_helps_and_above_one_that_does_not(ask):
    lines = ask(QUESTION).splitlines()
    assert "40" in lines[0]
    assert lines[1] == "  From the memory [1]: Rowing boats are rented at the east gate for 40 yuan an hour."
    shown = json.loads(ask(QUESTION, "--json"))
    quote, first = shown["quote"], shown["citations"][0]
    assert (shown["leads"], quote["id"], quote["place"]) == ("answer", first["id"], first["place"])
    assert first["text"][quote["start"] : quote["end"]] == quote["text"] == lines[1].split(": ", 1)[1]
    assert first["spans"][0][0] == 0
    unsupported = "Who won the 1998 World Cup?"
    shown, lines = json.loads(ask(unsupported, "--json")), ask(unsupported).splitlines()
    assert shown["leads"] == "quote"
    ids, quotes = [one["id"] for one in shown["citations"]], [shown["quote"], shown["second_quote"]]
    numbers = [ids.index(quote["id"]) + 1 for quote in quotes if quote is not None]
    expected = [f"From the memory [{numbers[0]}]: {shown['quote']['text']}"]
    if quotes[1] is not None:
        expected.append(f"From the memory, too [{numbers[1]}]: {shown['second_quote']['text']}")
    expected.append(f"  The model wrote: {shown['text']}")
    assert "\n".join(lines).startswith("\n".join(expected) + "\n")
    shown, lines = json.loads(ask(unsupported, "--json", "--abstain")), ask(unsupported, "--abstain").splitlines()
    assert (shown["quote"], shown["leads"], lines[0]) == (None, "answer", "not in memory")


def test_words_that_stand_in_one_line_of_the_terminal_are_taken_back(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert [take_back(shown) for shown in ("Foo", "x" * 10, "a\nb", "")] == [True, False, False, True]
    assert capsys.readouterr().out == "\r\x1b[2K"


def test_json_of_many_questions_is_a_line_each(ask):
    lines = ask("--json", given=f"{QUESTION}\n公园几点开门？\n\n").splitlines()
    assert [json.loads(line)["question"] for line in lines] == [QUESTION, "公园几点开门？"]


def test_passages_are_shown_under_their_citations(ask):
    lines = ask(QUESTION, "--show-passages", "-k", "2").splitlines()
    first, second = (place for place, line in enumerate(lines) if line.startswith("  ["))
    assert second > first + 1
    assert all(line.startswith("      ") for line in lines[first + 1 : second])
    assert any("40 yuan" in line for line in lines[first:])


def test_blank_lines_of_a_passage_are_empty(rag):
    answer = rag.answer(QUESTION, AskOptions(k=1, max_new_tokens=1))
    (cited,) = answer.citations
    two_paragraphs = replace(cited, passage=replace(cited.passage, text="One.\n\nTwo."))
    lines = list(_summary(replace(answer, citations=[two_paragraphs]), show_passages=True))
    assert lines[1:4] == ["      One.", "", "      Two."]


def test_it_is_said_where_nothing_was_found(ask):
    lines = ask("？！").splitlines()
    at = lines.index("  nothing was found in the memory for this question")
    assert lines[at + 1] == "  confidence 0%: probably not in memory"
    lines = ask(QUESTION, "--where", 'source == "nowhere"').splitlines()
    assert lines[-3:-1] == [
        "  nothing was found in the memory for this question",
        "  confidence 0%: probably not in memory",
    ]
    shown = json.loads(ask("？！", "--json", "--abstain"))
    assert (shown["text"], shown["nothing_found"], shown["confidence"]) == ("not in memory", True, 0.0)
    assert (shown["supported"], shown["citations"]) == (False, [])
    assert json.loads(ask(QUESTION, "--json"))["nothing_found"] is False
