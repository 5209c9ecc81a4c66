"""Questions over several hops over HTTP get what they get in Python; what cannot be asked is refused with a sentence."""

from __future__ import annotations

from dataclasses import replace

import openai
import pytest
from hashing import HashEncoder
from served import Served
from tiny import TinyReader
from triples import read

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.memory import Memory
from memgpt_rag.rag import RAG
from memgpt_rag.tasks.graph.ask import answer_by_paths
from memgpt_rag.tasks.graph.build import build_graph_memory
from memgpt_rag.tasks.graph.links import TripleLinks
from memgpt_rag.tasks.graph.paths import PathFinder

ROWS = """subject,property,object
Spain,country code,ESP
Spain,continent,Europe
Peru,country code,PER
Peru,continent,America
"""
QUESTIONS = ["What is the continent of the country with the country code ESP?", "What is the country code of Peru?"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, decoder, encoder = tmp_path_factory.mktemp("served"), TinyReader()(), HashEncoder()
    build_graph_memory(read(folder, ROWS, "a.csv"), folder / "countries", encoder)
    Memory.create(folder / "plain", ["a fact"], encoder)
    memories = {name: folder / name for name in ("countries", "plain")}
    with Served(folder, encoder=encoder, decoder=decoder, memories=memories, max_new_tokens=64) as served:
        yield served, RAG(Memory.open(folder / "countries"), encoder, decoder)


def ask(server, **body):
    return server.client().post("/graph/ask", body=body, cast_to=dict)


def test_answers_are_those_in_python_with_the_address_of_each_step(server):
    served, rag = server
    found = ask(served, model="countries", input=QUESTIONS, max_tokens=8)
    assert (found["object"], found["model"], found["complete"]) == ("list", "countries", True)
    finder = PathFinder(rag.retriever, TripleLinks(rag.retriever.memory))
    expected = [answer_by_paths(rag, finder, [one], AskOptions(k=3, max_new_tokens=8))[0] for one in QUESTIONS]
    for number, (one, other) in enumerate(zip(found["data"], expected, strict=True)):
        assert (one["object"], one["index"]) == ("graph.answer", number)
        shown = other.to_dict()
        assert {name: one[name] for name in ("question", "text", "end")} == {
            name: shown[name] for name in ("question", "text", "end")
        }
        assert [step["id"] for step in one["steps"]] == [step["id"] for step in shown["steps"]]
        assert [step["share"] for step in one["steps"]] == pytest.approx(
            [step["share"] for step in shown["steps"]], abs=1e-4
        )
        for step in one["steps"]:
            assert step["url"].startswith(f"{served.url}/view/countries?entry=triple%23")


def test_the_longest_path_and_the_number_of_paths_are_the_clients(server):
    served, _ = server
    (one,) = ask(served, model="countries", input=QUESTIONS[0], k=1, hops=1, max_tokens=4)["data"]
    assert len(one["citations"]) == len(one["steps"]) == 1
    (two,) = ask(served, model="countries", input=QUESTIONS[0], k=1, max_tokens=4)["data"]
    assert [step["text"] for step in two["steps"]] == [
        "The country code of Spain is ESP.",
        "The continent of Spain is Europe.",
    ]
    assert two["end"] == "Europe"


def test_questions_behind_the_deadline_are_left_out(server, monkeypatch):
    served, _ = server
    monkeypatch.setattr(served.service, "settings", replace(served.service.settings, deadline_seconds=1e-3))
    found = ask(served, model="countries", input=QUESTIONS * 5, max_tokens=4)
    assert found["complete"] is False and len(found["data"]) < 10


def test_what_cannot_be_asked_is_refused(server):
    served, _ = server
    with pytest.raises(openai.BadRequestError, match="'plain' has no lexical index, which paths are found by"):
        ask(served, model="plain", input="why?")
    with pytest.raises(openai.NotFoundError, match="no model 'books' here"):
        ask(served, model="books", input="why?")
    with pytest.raises(openai.BadRequestError, match="a question is empty; ask something"):
        ask(served, model="countries", input=["why?", " "])
    with pytest.raises(openai.BadRequestError, match="hops: Input should be less than or equal to 4"):
        ask(served, model="countries", input="why?", hops=5)
    with pytest.raises(openai.BadRequestError, match="max_tokens is 65; expected at most 64"):
        ask(served, model="countries", input="why?", max_tokens=65)
    with pytest.raises(openai.BadRequestError, match="The question has 20,017 tokens; expected at most 2,048"):
        ask(served, model="countries", input="why " * 5000)
