"""A memory behind Haystack's interfaces: what its suites do not ask. Oracles are Haystack's own filter, and the library without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from hashing import HashEncoder
from tiny import tiny_bert, tiny_splade

pytest.importorskip("haystack", reason="haystack-ai is not installed")

from haystack import Document, Pipeline
from haystack.core.errors import DeserializationError
from haystack.dataclasses import ByteStream, ChatMessage, SparseEmbedding, ToolCall
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

from indexing.jobs.compute_sparse_vectors import compute_sparse_vectors
from memgpt_rag import AskOptions, Memory, Search
from memgpt_rag.encoders.load import load_sparse_encoder
from memgpt_rag.errors import MemoryFormatError, MismatchError
from memgpt_rag.integrations.haystack import MemGPTChatGenerator, MemGPTDocumentStore, MemGPTRetriever
from memgpt_rag.integrations.haystack.document_store import from_stored, to_stored
from memgpt_rag.integrations.haystack.filters import expression
from memgpt_rag.memory.versions import list_versions
from memgpt_rag.retrieval.retriever import Retriever

# Haystack makes objects of modules that it may trust only.
OURS = ["memgpt_rag.integrations.haystack"]

DOCUMENTS = [
    Document(
        id=f"boat-{number}",
        content=f"Boat {number} costs {number * 10} yuan.",
        meta={
            "year": 2000 + number % 5,
            "price": number * 1.5,
            "tags": [number],
            "source": "boats.md" if number % 2 else "prices.md",
            **({"lang": "en" if number % 2 else "zh"} if number % 3 else {}),
            **({"open": number % 2 == 0} if number % 4 else {"open": None}),
        },
    )
    for number in range(40)
]


@pytest.fixture
def store(tmp_path):
    made = MemGPTDocumentStore(str(tmp_path / "boats"), HashEncoder())
    assert made.write_documents(DOCUMENTS) == 40
    return made


VALUES = {"source": ["boats.md", "other"], "year": [2000, 2003, 2003.0, 2003.5, None], "price": [1.5, 3, 10], "lang": ["en", "fr", None], "open": [True, False, None],
          "id": ["boat-3", "boat"], "content": ["Boat 3 costs 30 yuan."]}  # fmt: skip


def random_filter(rng: np.random.Generator, depth: int = 2) -> dict:
    if depth and rng.random() < 0.6:
        conditions = [random_filter(rng, depth - 1) for _ in range(rng.integers(1, 4))]
        return {"operator": str(rng.choice(["AND", "OR", "NOT"])), "conditions": conditions}
    name = str(rng.choice(list(VALUES)))
    values, is_number = VALUES[name], name in ("year", "price")
    operator = str(rng.choice(["==", "!=", "in", "not in", *([">", ">=", "<", "<="] if is_number else [])]))
    known = [value for value in values if value is not None]
    value = known[: rng.integers(0, 3)] if "in" in operator else values[rng.integers(len(values))]
    return {"field": name if name in ("id", "content") else f"meta.{name}", "operator": operator, "value": value}


def test_a_condition_matches_what_haystack_matches(store, rng):
    columns = store.store.memory().manifest.metadata
    assert columns.keys() == {"year", "price", "source_", "lang", "open", "metadata_json"}
    expressed = 0
    for _ in range(300):
        filters = random_filter(rng)
        expressed += expression(filters, columns) is not None
        found = [document.id for document in store.filter_documents(filters)]
        assert found == [one.id for one in DOCUMENTS if document_matches_filter(filters, one)], filters
    assert expressed > 150  # both ways were taken


@pytest.mark.parametrize(
    "filters",
    [
        {"field": "meta.tags", "operator": "==", "value": [3]},  # no column
        {"field": "meta.metadata_json", "operator": "==", "value": "x"},  # the memory's own
        {"field": "score", "operator": "==", "value": None},  # of a document
        {"field": "meta.lang", "operator": "==", "value": "2024-01-01"},  # a date
        {"field": "meta.open", "operator": "==", "value": 1},  # another type
        {"field": "meta.year", "operator": "in", "value": [2003, None]},
        {"field": "meta.year", "operator": "==", "value": 2.5},
        {"field": "meta.year", "operator": ">", "value": None},
        {"operator": "AND", "conditions": []},
    ],
)  # fmt: skip
def test_what_columns_cannot_express_is_matched_by_haystack_itself(store, filters):
    assert expression(filters, store.store.memory().manifest.metadata) is None
    assert store.filter_documents(filters) == [one for one in DOCUMENTS if document_matches_filter(filters, one)]


@pytest.mark.parametrize(
    ("filters", "match"),
    [
        ({"field": "meta.year"}, "expected a filter with an operator"),
        ({"operator": "==", "field": "meta.year"}, "'value' key missing"),
        ({"operator": "XOR", "conditions": [{"field": "year", "operator": "==", "value": 1}]}, "Unknown logical operator"),
        ({"field": "meta.year", "operator": "~", "value": 1}, "Unknown comparison operator"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(store, filters, match):
    with pytest.raises(FilterError, match=match):
        store.filter_documents(filters)


def test_a_document_comes_back_as_it_was_written(store):
    document = Document(
        content="A boat.",
        blob=ByteStream(b"\x00\xff", meta={"page": 1}, mime_type="image/png"),
        meta={"deep": {"list": [1, {"a": None}]}, "year": 2024},
        embedding=[0.1, 0.2],
        sparse_embedding=SparseEmbedding([1, 7], [0.5, 0.25]),
    )
    store.write_documents([document])
    assert store.filter_documents({"field": "id", "operator": "==", "value": document.id}) == [document]
    assert from_stored(to_stored(document)) == document


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (Document(blob=ByteStream(b"x")), "has no content; a memory holds documents with a text"),
        (Document(content="  "), "has no text or no id; give both"),
        (Document(content="x", meta={"_haystack": 1}), "has a field '_haystack', which is the store's own"),
        (Document(content="x", meta={"year": "new"}), "column 'year' holds values of type integer"),
        (Document(content="x", meta={"at": object()}), "metadata that JSON cannot hold"),
    ],
)  # fmt: skip
def test_what_a_memory_cannot_hold_is_refused_and_nothing_is_written(store, document, match):
    with pytest.raises(ValueError, match=match):
        store.write_documents([Document(content="a good one"), document])
    assert store.count_documents() == 40


def test_of_documents_with_one_id_the_policy_chooses(store):
    first, last = Document(id="new", content="first"), Document(id="new", content="last")
    assert store.write_documents([first, last, DOCUMENTS[3]], DuplicatePolicy.SKIP) == 1
    wanted = {"field": "id", "operator": "==", "value": "new"}
    assert store.filter_documents(wanted) == [first]
    assert store.write_documents([first, last], DuplicatePolicy.OVERWRITE) == 2
    assert store.filter_documents(wanted) == [last]
    assert len(list_versions(store.store.folder)) >= 3


@pytest.mark.parametrize("search", ["auto", "dense", "bm25", "hybrid"])
def test_the_retriever_finds_what_the_library_finds(store, search):
    query, memory = "What does boat 7 cost?", store.store.memory()
    wanted = Retriever(memory, HashEncoder(), Search(search)).retrieve([query], 6)[0]
    found = MemGPTRetriever(store, top_k=6, search=search).run(query)["documents"]
    assert [(one.id, one.score) for one in found] == [(one.passage.id, pytest.approx(one.score)) for one in wanted]
    assert asyncio.run(MemGPTRetriever(store, top_k=6, search=search).run_async(query))["documents"] == found
    assert [one.meta for one in found] == [DOCUMENTS[int(one.id.split("-")[1])].meta for one in found]


def test_the_retriever_finds_by_sparse_vectors(store, tmp_path):
    folder = str(tiny_splade(tmp_path / "splade"))
    retriever = MemGPTRetriever(store, top_k=6, search="sparse", sparse_encoder=folder)
    with pytest.raises(MemoryFormatError, match="no sparse vectors; add them with: memgpt-index sparse"):
        retriever.run("What does boat 7 cost?")
    encoder = load_sparse_encoder(folder)
    compute_sparse_vectors(store.store.folder, encoder)
    search = Search("sparse", sparse_encoder=encoder)
    wanted = Retriever(store.store.memory(), HashEncoder(), search).retrieve(["What does boat 7 cost?"], 6)[0]
    found = retriever.run("What does boat 7 cost?")["documents"]
    assert [one.id for one in found] == [one.passage.id for one in wanted] and len(found) == 6


def test_filters_of_a_run_replace_those_of_the_retriever_or_join_them(store):
    year, lang = (
        {"field": f"meta.{name}", "operator": "==", "value": value} for name, value in (("year", 2003), ("lang", "en"))
    )
    for policy, wanted in ((FilterPolicy.REPLACE, lambda one: one.meta.get("lang") == "en"),
                           (FilterPolicy.MERGE, lambda one: one.meta.get("lang") == "en" and one.meta["year"] == 2003)):  # fmt: skip
        retriever = MemGPTRetriever(store, year, top_k=40, search="dense", filter_policy=policy)
        found = retriever.run("boat", filters=lang)["documents"]
        assert {one.id for one in found} == {one.id for one in DOCUMENTS if wanted(one)}


def test_no_filter_deletes_nothing(store):
    with pytest.raises(ValueError, match="all documents would be deleted; say so with delete_all_documents"):
        store.delete_by_filter({})
    assert store.count_documents() == 40


def test_an_empty_store_finds_nothing(tmp_path):
    store = MemGPTDocumentStore(str(tmp_path / "none"), HashEncoder())
    assert MemGPTRetriever(store).run("boat") == {"documents": []}
    assert not (tmp_path / "none").exists()


def test_the_memory_of_a_job_is_a_store(tmp_path):
    Memory.create(tmp_path / "m", ["A rowing boat costs 40 yuan."], HashEncoder())
    store = MemGPTDocumentStore(str(tmp_path / "m"), HashEncoder())
    (document,) = store.filter_documents({"field": "meta.place", "operator": "==", "value": "text, line 1"})
    assert document.content == "A rowing boat costs 40 yuan." and document.meta["source"] == "text"
    with pytest.raises(MismatchError, match="embedded with 'hash'"):
        MemGPTDocumentStore(str(tmp_path / "m"), HashEncoder(32)).count_documents()


def test_a_pipeline_is_saved_as_yaml_and_loaded_again(tmp_path):
    encoder = str(tiny_bert(tmp_path / "bert"))
    store = MemGPTDocumentStore(str(tmp_path / "boats"), encoder, {"year": "integer"})
    store.write_documents(DOCUMENTS)
    year = {"field": "meta.year", "operator": ">=", "value": 2003}
    pipeline = Pipeline()
    pipeline.add_component("search", MemGPTRetriever(store, year, 3, "hybrid", 0.2, FilterPolicy.MERGE))
    saved = pipeline.dumps()
    again = Pipeline.loads(saved, allowed_modules=OURS)
    assert again.dumps() == saved and again.to_dict() == pipeline.to_dict()
    query = {"search": {"query": "What does boat 7 cost?"}}
    found = pipeline.run(query)["search"]["documents"]
    assert len(found) == 3 and all(one.meta["year"] >= 2003 for one in found)
    assert again.run(query)["search"]["documents"] == found
    assert again.get_component("search").document_store.to_dict() == store.to_dict()
    with pytest.raises(DeserializationError):
        Pipeline.loads(saved.replace("hybrid", "psychic"), allowed_modules=OURS)


def test_an_encoder_itself_cannot_be_saved(store):
    with pytest.raises(ValueError, match="was given an encoder; give its name or folder instead"):
        MemGPTRetriever(store).to_dict()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda store: MemGPTRetriever("boats"), "document_store is a str; expected a MemGPTDocumentStore"),
        (lambda store: MemGPTRetriever(store, top_k=0), "top_k is 0; expected 1 or more"),
        (lambda store: MemGPTRetriever(store, search="psychic"), "There is no search 'psychic'"),
        (lambda store: MemGPTChatGenerator("boats", generation_kwargs={"depth": 3}), "There is no setting depth in generation_kwargs; expected some of"),
        (lambda store: MemGPTChatGenerator("boats", generation_kwargs={"k": -1}), "k is -1"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_at_once(store, make, match):
    with pytest.raises((TypeError, ValueError), match=match):
        make(store)


@pytest.fixture
def chat(boats):
    generator = MemGPTChatGenerator("boats", generation_kwargs={"k": 2, "max_new_tokens": 12})
    generator._rag = boats  # else loaded by name
    return generator


def test_an_answer_is_that_of_the_library(chat, boats):
    question = "What does boat 3 cost?"
    wanted = boats.answer(question, AskOptions(k=2, max_new_tokens=12))
    (reply,) = chat.run([ChatMessage.from_user(question)])["replies"]
    assert reply.text == wanted.text
    assert [one["id"] for one in reply.meta["citations"]] == [one.passage.id for one in wanted.citations]
    assert [one["share"] for one in reply.meta["citations"]] == [pytest.approx(one.share) for one in wanted.citations]
    assert reply.meta["confidence"] == pytest.approx(wanted.confidence)
    usage = reply.meta["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert chat.run(question)["replies"][0].text == wanted.text
    assert asyncio.run(chat.run_async(question))["replies"][0].text == wanted.text
    other = chat.run(question, generation_kwargs={"k": 1})["replies"][0]
    assert len(other.meta["citations"]) == 1


def test_pieces_of_an_answer_are_the_answer(chat):
    shown, later = [], []

    async def receive(chunk):
        later.append(chunk.content)

    (reply,) = chat.run("What does boat 3 cost?", streaming_callback=lambda chunk: shown.append(chunk))["replies"]
    assert "".join(chunk.content for chunk in shown) == reply.text and reply.text
    assert shown[0].component_info.type.endswith("MemGPTChatGenerator")
    asyncio.run(chat.run_async("What does boat 3 cost?", streaming_callback=receive))
    assert "".join(later) == reply.text


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([], "The last message is not a person's"),
        ([ChatMessage.from_user("hello"), ChatMessage.from_assistant("yes")], "The last message is not a person's"),
        ([ChatMessage.from_assistant(tool_calls=[ToolCall("search", {})]), ChatMessage.from_user("so?")], "something else than one text"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused(chat, messages, match):
    with pytest.raises(ValueError, match=match):
        chat.run(messages)


def test_a_chat_generator_is_saved_with_its_settings_and_a_named_callback():
    settings = {"k": 2, "abstain": True, "temperature": 0.5, "stops": ["\n"]}
    generator = MemGPTChatGenerator(["a", "b"], config="compact", generation_kwargs=settings, streaming_callback=print)
    again = MemGPTChatGenerator.from_dict(generator.to_dict())
    assert again.to_dict() == generator.to_dict()
    assert again.streaming_callback is print and again.memory == ["a", "b"] and again.generation_kwargs == settings


def test_the_missing_package_is_named_and_nothing_is_imported_before():
    code = (
        "import sys\nimport memgpt_rag, memgpt_rag.integrations\nassert 'haystack' not in sys.modules\nsys.modules['haystack'] = None\n"
        "import memgpt_rag.integrations.haystack"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (
        "needs the package haystack-ai, which is not installed; run: pip install 'memgpt_rag[haystack]'" in done.stderr
    )


@pytest.mark.offline_models
def test_a_pipeline_answers_from_the_memory_of_a_job(memory):
    settings = {"k": 2, "max_new_tokens": 16}
    pipeline = Pipeline()
    pipeline.add_component("answer", MemGPTChatGenerator(str(memory), generation_kwargs=settings))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=OURS)
    question = ChatMessage.from_user("How much does it cost to rent a rowing boat?")
    (reply,) = again.run({"answer": {"messages": [question]}})["answer"]["replies"]
    assert "40 yuan" in reply.text
    assert reply.meta["citations"][0]["place"] == "park.md, lines 14–15"
