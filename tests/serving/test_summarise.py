"""Summaries over HTTP equal those in Python; what cannot be summarised is refused with a sentence."""

from __future__ import annotations

import time
from dataclasses import replace

import openai
import pytest
from hashing import HashEncoder
from served import Served
from tiny import TinyReader

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.row_control import Deadline
from memgpt_rag.memory import Memory
from memgpt_rag.passage import TITLE_SEPARATOR, Passage
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.tasks.summaries.summarize import SummaryOptions, summarize
from memgpt_rag.tasks.summaries.writer import Writer

PASSAGES = [
    Passage(f"{heading}#{number}", f"{heading} {number} are at gate {number}.", f"Park{TITLE_SEPARATOR}{heading}",
            "park.md", "", "line", number, number, 0, 9)
    for heading in ("Boats", "Kites") for number in range(1, 5)
]  # fmt: skip
ASKED = {"parts": 2, "part_tokens": 16, "k": 2, "retrieve_every": 6}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder, decoder, encoder = tmp_path_factory.mktemp("served"), TinyReader()(), HashEncoder()
    memory = Memory.create(folder / "park", PASSAGES, encoder)
    with Served(
        folder, encoder=encoder, decoder=decoder, memories={"park": folder / "park"}, max_new_tokens=64
    ) as served:
        yield served, Writer(memory, encoder, decoder)


def summarise(server, **body):
    return server.client().post("/summarise", body=body, cast_to=dict)


def test_parts_are_those_of_a_summary_in_python(server):
    served, writer = server
    found = summarise(served, model="park", **ASKED)
    assert (found["object"], found["model"], found["complete"]) == ("list", "park", True)
    expected = summarize(writer, SummaryOptions(**ASKED))
    assert [one["heading"] for one in found["data"]] == ["Boats", "Kites"]
    for number, (one, part) in enumerate(zip(found["data"], expected, strict=True)):
        assert (one["object"], one["index"], one["text"]) == ("summary.part", number, part.text)
        assert one["sentences"][0]["citations"][0]["id"] == part.sentences[0].sources[0].passage.id


def test_an_outline_alone_has_the_sections(server):
    served, _ = server
    found = summarise(served, model="park", outline_only=True, **ASKED)
    assert found["data"] == [
        {"object": "summary.section", "index": place, "heading": heading, "passages": 4}
        for place, heading in enumerate(("Boats", "Kites"))
    ]


def test_a_summary_is_narrowed_by_a_filter_and_a_subject(server):
    served, _ = server
    (part,) = summarise(served, model="park", filter='id == "Kites#2"', **ASKED)["data"]
    assert (part["passages"], part["read"]) == (1, 1)
    (part,) = summarise(served, model="park", about="Kites", filter='title == "Park › Kites"', **ASKED)["data"]
    assert part["passages"] == 4


def test_parts_end_with_the_deadline(server, monkeypatch):
    served, _ = server
    monkeypatch.setattr(served.service, "settings", replace(served.service.settings, deadline_seconds=1e-3))
    found = summarise(served, model="park", **ASKED)
    assert found["complete"] is False and len(found["data"]) < 2


def test_a_part_ends_where_it_is_when_the_time_is_up(server):
    """So that one long part does not keep questions to the memory waiting."""
    _, writer = server
    entries = [Retrieved(row, passage, 0.0, 0.0) for row, passage in enumerate(PASSAGES[:2])]
    for renew in (None, lambda latest: entries[:1]):
        options = AskOptions(k=2, max_new_tokens=32, retrieve_every=renew and 4)
        whole, short = list[int](), list[int]()
        writer.part("Boats", entries, options, whole, renew, Deadline(time.monotonic() + 1000))
        writer.part("Boats", entries, options, short, renew, SevenTokens())
        assert len(whole) > len(short) == 7 and whole[:7] == short


class SevenTokens(Deadline):
    """As if the time were up behind the seventh token."""

    def __init__(self):
        super().__init__(0)
        self.left = 7

    def goes_on(self, token):
        self.left -= 1
        return self.left > 0


def test_what_cannot_be_summarised_is_refused(server):
    served, _ = server
    with pytest.raises(openai.NotFoundError, match="no model 'books' here"):
        summarise(served, model="books")
    with pytest.raises(openai.BadRequestError, match="part_tokens is 65; expected at most 64"):
        summarise(served, model="park", part_tokens=65)
    with pytest.raises(openai.BadRequestError, match="No entry was found to write about; change the condition"):
        summarise(served, model="park", filter='id == "other"', part_tokens=16)
    with pytest.raises(openai.BadRequestError, match="no parameter 'sentences' here"):
        summarise(served, model="park", sentences=3)
    with pytest.raises(openai.BadRequestError, match="outline"):
        summarise(served, model="park", outline="chapters")
