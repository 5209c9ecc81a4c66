"""Memories behind LangChain's interfaces: what its suites do not ask. Oracles are numpy, and the library without LangChain."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hashing import HashEncoder, passage
from tiny import tiny_bert

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.vectorstores import InMemoryVectorStore

from memgpt_rag import RAG, AskOptions, Memory, Search
from memgpt_rag.errors import BusyError, MemoryFormatError, MismatchError, ModelError
from memgpt_rag.integrations.langchain import ChatMemGPT, MemGPTRetriever, MemGPTVectorStore
from memgpt_rag.integrations.langchain.filters import condition
from memgpt_rag.memory import Shards
from memgpt_rag.memory.changes import put_entries
from memgpt_rag.memory.versions import list_versions, roll_back, writing
from memgpt_rag.model import MemoryDecoder


class Pairs(Embeddings):
    """Vectors by arithmetic, so that similar texts are near each other."""

    def __init__(self, dimension=64, salt=0):
        self.model = f"pairs-{dimension}"
        self._encoder = HashEncoder(dimension, salt=salt)

    def embed_documents(self, texts):
        return (3 * self._encoder.encode_passages(texts)).tolist()  # of no length in particular

    def embed_query(self, text):
        return self.embed_documents([text])[0]


TEXTS = [f"Boat {number} costs {number * 10} yuan." for number in range(60)]
METADATA = [{"year": 2000 + number % 5, "lang": "en" if number % 2 else "zh", "tags": [number]} for number in range(60)]
IDS = [f"boat-{number}" for number in range(60)]
QUERY = "What does boat 7 cost?"


@pytest.fixture
def store(tmp_path):
    made = MemGPTVectorStore(tmp_path / "boats", Pairs())
    assert made.add_texts(TEXTS, METADATA, ids=IDS) == IDS
    return made


def test_scores_are_those_of_another_store_and_metadata_comes_back_as_it_was(store):
    other = InMemoryVectorStore(Pairs())
    other.add_texts(TEXTS, METADATA, ids=IDS)
    ours, theirs = (one.similarity_search_with_score(QUERY, k=60) for one in (store, other))
    assert {one.id for one, _ in ours} == set(IDS)
    expected = {document.id: (document, score) for document, score in theirs}
    for document, score in ours:
        assert document == expected[document.id][0]
        assert score == pytest.approx(expected[document.id][1], abs=1e-5)
    assert [score for _, score in ours] == sorted((score for _, score in ours), reverse=True)
    relevance = [score for _, score in store.similarity_search_with_relevance_scores(QUERY, k=60)]
    np.testing.assert_allclose(relevance, [(1 + score) / 2 for _, score in ours], rtol=1e-6)


def test_diverse_documents_are_those_of_another_store(store):
    other = InMemoryVectorStore(Pairs())
    other.add_texts(TEXTS, METADATA, ids=IDS)
    for weight in (0.0, 0.3, 1.0):
        wanted = {"k": 5, "fetch_k": 12, "lambda_mult": weight}
        ours, theirs = (one.max_marginal_relevance_search(QUERY, **wanted) for one in (store, other))
        assert [one.id for one in ours] == [one.id for one in theirs]
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 9})
    assert len(retriever.invoke(QUERY)) == 2


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ("year >= 2003 and lang == 'en'", lambda one: one["year"] >= 2003 and one["lang"] == "en"),
        ({"year": 2003}, lambda one: one["year"] == 2003),
        ({"year": {"$gt": 2001, "$lte": 2003}}, lambda one: 2001 < one["year"] <= 2003),
        ({"lang": {"$ne": "en"}, "year": {"$in": [2000, 2004]}}, lambda one: one["lang"] != "en" and one["year"] in (2000, 2004)),
        ({"$or": [{"year": 2000}, {"$and": [{"lang": "en"}, {"year": {"$nin": [2001, 2002]}}]}]},
         lambda one: one["year"] == 2000 or (one["lang"] == "en" and one["year"] not in (2001, 2002))),
    ],
)  # fmt: skip
def test_a_filter_keeps_what_it_says(store, given, matches):
    found = store.similarity_search(QUERY, k=60, filter=given)
    assert {one.id for one in found} == {id for id, known in zip(IDS, METADATA) if matches(known)}
    diverse = store.max_marginal_relevance_search(QUERY, k=60, fetch_k=60, filter=given)
    assert {one.id for one in diverse} == {one.id for one in found}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"colour": "red"}, "There is no column 'colour'; expected one of"),
        ({"tags": 3}, "There is no column 'tags'"),
        ({"year": {"$near": 3}}, r"There is no comparison '\$near' of 'year'; expected one of \$eq"),
        ({"year": None}, "The filter of 'year' has a value that is not a text, a number, true or false"),
        ({"$or": []}, r"The filter '\$or' has no list of filters"),
        ({"$and": ["year"]}, "Found 'year' where a filter is expected"),
        ({"year) or (year": 1}, "cannot be the name of a column"),
        ("year = 3", "cannot be read"),
    ],
)
def test_what_is_no_filter_is_refused(store, given, match):
    with pytest.raises(ValueError, match=match):
        store.similarity_search(QUERY, filter=given)


def test_an_addition_is_one_version_and_what_is_there_already_is_none(store, tmp_path):
    folder = tmp_path / "boats"
    assert [version.job["name"] for version in list_versions(folder)] == ["create", "put"]
    store.add_texts(TEXTS, METADATA, ids=IDS)
    assert len(list_versions(folder)) == 2
    store.add_texts(["New text."], [{"year": 1}], ids=["boat-3"])
    assert list_versions(folder)[-1].job == {"name": "put", "added": 1, "replaced": 1}
    assert store.get_by_ids(["boat-3", "boat-2", "none", "boat-3"]) == [
        Document("New text.", id="boat-3", metadata={"year": 1}),
        Document(TEXTS[2], id="boat-2", metadata=METADATA[2]),
    ]
    memory = Memory.open(folder)
    assert len(memory) == 60
    texts = [one.text for one in memory.passages(memory.rows())]
    np.testing.assert_allclose(memory.keys(), HashEncoder().encode_passages(texts), atol=1e-6)
    roll_back(folder, 2)  # by whoever else writes; the store goes by the current version
    assert store.get_by_ids(["boat-3"])[0].page_content == TEXTS[3]


def test_all_documents_can_be_deleted_and_others_added(store, tmp_path):
    assert store.delete()
    assert store.similarity_search(QUERY) == store.max_marginal_relevance_search(QUERY) == []
    assert len(Memory.open(tmp_path / "boats")) == 0
    store.add_texts(["A boat."], ids=["again"])
    assert [one.id for one in store.similarity_search(QUERY)] == ["again"]
    assert [one.id for one in MemGPTVectorStore(tmp_path / "boats", Pairs()).similarity_search(QUERY)] == ["again"]


@pytest.mark.parametrize(
    ("texts", "settings", "match"),
    [
        (["One.", "Two."], {"ids": ["a", "a"]}, "1 ids are given more than once, such as 'a'"),
        (["One.", " "], {"ids": ["a", "b"]}, "The document 'b' has no text or no id"),
        (["One."], {"metadatas": [{}, {}]}, "Found 1 texts and 2 metadatas"),
        (["One."], {"ids": ["a"], "metadatas": [{"at": object()}]}, "The document 'a' has metadata that JSON cannot hold"),
        (["One."], {"ids": ["a"], "metadatas": [{1: 2}]}, "The document 'a' has metadata that JSON would change"),
        (["One."], {"ids": ["a"], "metadatas": [{"at": (1, 2)}]}, "The document 'a' has metadata that JSON would change"),
        (["One."], {"ids": ["a"], "metadatas": [{"at": float("nan")}]}, "The document 'a' has metadata that JSON cannot hold"),
        (["One."], {"ids": ["a"], "metadatas": [{"year": "MMXX"}]}, "The document 'a' has year='MMXX', and the memory's column 'year' holds"),
    ],
)  # fmt: skip
def test_what_cannot_be_added_changes_nothing(store, tmp_path, texts, settings, match):
    before = Memory.open(tmp_path / "boats").manifest
    with pytest.raises(ValueError, match=match):
        store.add_texts(texts, **settings)
    assert Memory.open(tmp_path / "boats").manifest == before


def test_columns_are_declared_or_taken_from_the_first_documents(tmp_path):
    known = [
        {"year": 1, "price": 2, "day": "2024-05-01", "own-name": 1},
        {"year": 2, "price": 2.5, "mixed": 1},
        {"mixed": "x"},
    ]
    texts = ["One.", "Two.", "Three."]
    taken = MemGPTVectorStore.from_texts(texts, Pairs(), known, folder=tmp_path / "taken")
    declared = MemGPTVectorStore.from_texts(
        texts, Pairs(), known, folder=tmp_path / "declared", columns={"day": "date"}
    )
    columns = [Memory.open(tmp_path / name).manifest.metadata for name in ("taken", "declared")]
    assert columns[0] == {"year": "integer", "price": "number", "day": "string", "metadata_json": "string"}
    assert columns[1] == {"day": "date", "metadata_json": "string"}
    for store in (taken, declared):
        assert {json.dumps(one.metadata) for one in store.similarity_search("x", k=3)} == {
            json.dumps(one) for one in known
        }
    assert len(declared.similarity_search("x", filter='day >= "2024-01-01"')) == 1
    with pytest.raises(ValueError, match="Metadata cannot be called 'a b'"):
        MemGPTVectorStore(tmp_path / "other", Pairs(), columns={"a b": "string"})


def test_a_memory_is_asked_with_the_embeddings_that_wrote_it(store, tmp_path):
    for other in (Pairs(salt=1), Pairs(dimension=32)):
        with pytest.raises(MismatchError, match="This memory was embedded with 'Pairs pairs-64' and is asked with"):
            MemGPTVectorStore(tmp_path / "boats", other)
    with pytest.raises(ModelError, match="'DeterministicFakeEmbedding' cannot search: of eight questions"):
        MemGPTVectorStore(tmp_path / "boats", DeterministicFakeEmbedding(size=64))
    with pytest.raises(ModelError, match="its encoder is 'Pairs pairs-64', which does not come as a package"):
        MemGPTVectorStore(tmp_path / "boats")
    with pytest.raises(MismatchError, match="have dimension 3"):
        store.similarity_search_by_vector([1.0, 0.0, 0.0])
    with pytest.raises(ModelError, match="a vector of zeros"):
        store.similarity_search_by_vector([0.0] * 64)


def test_an_embedding_object_that_returns_too_few_vectors_writes_nothing(tmp_path):
    class Forgetful(Pairs):
        def embed_documents(self, texts):
            return super().embed_documents(texts)[: max(1, len(texts) - (len(texts) == 3))]

    store = MemGPTVectorStore(tmp_path / "m", Forgetful())
    with pytest.raises(ModelError, match=r"Forgetful pairs-64 gave vectors of shape \(2, 64\) for 3 texts"):
        store.add_texts(["One.", "Two.", "Three."])
    assert store.similarity_search("One.") == []


def test_several_threads_add_each_its_own(store):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.add_texts([f"Kite {number}."], ids=[f"kite-{number}"]), range(8)))
    assert len(store.get_by_ids([f"kite-{number}" for number in range(8)])) == 8


def test_another_writer_is_named(store, tmp_path):
    with writing(tmp_path / "boats"), pytest.raises(BusyError, match="Another job is writing to"):
        store.add_texts(["One."])


def test_options_that_do_not_exist_are_refused(store):
    for call in (store.similarity_search, store.max_marginal_relevance_search):
        with pytest.raises(TypeError, match="There is no option score_limit of this store"):
            call(QUERY, score_limit=3)
    with pytest.raises(TypeError, match="There is no option where of this store"):
        store.delete(["boat-1"], where="year == 2000")


def test_a_memory_that_a_job_built_is_a_store_too(tmp_path):
    encoder = tiny_bert(tmp_path / "bert")
    from memgpt_rag import load_encoder

    Memory.create(tmp_path / "m", [passage(1), passage(2)], load_encoder(str(encoder)))
    store = MemGPTVectorStore(tmp_path / "m", encoder=str(encoder))
    (found,) = store.get_by_ids(["doc#2"])
    assert found.page_content == "Fact number 2."
    assert found.metadata == {"title": "Title 2", "source": "doc", "place": "doc, line 2"}
    assert store.add_texts(["Another fact."], ids=["new"]) == ["new"]
    assert {one.id for one in store.similarity_search("fact", k=9)} == {"doc#1", "doc#2", "new"}
    with pytest.raises(ValueError, match="new2 has metadata year, which this memory has no column for"):
        store.add_texts(["Another fact."], [{"year": 3}], ids=["new2"])


def test_damaged_metadata_is_refused(tmp_path):
    bad = passage(1)
    object.__setattr__(bad, "metadata", {"metadata_json": "[1]"})
    Memory.create(tmp_path / "m", [bad], Pairs()._encoder, metadata={"metadata_json": "string"})
    retriever = MemGPTRetriever(retriever=_retriever(tmp_path / "m"))
    with pytest.raises(MemoryFormatError, match="The metadata of the entry 'doc#1' is no object"):
        retriever.invoke("x")


def _retriever(folder):
    from memgpt_rag import Retriever

    return Retriever(Memory.open(folder), HashEncoder())


def test_the_retriever_finds_what_the_library_finds(boats):
    expected = boats.retriever.retrieve([QUERY], 3)[0]
    retriever = MemGPTRetriever(retriever=boats.retriever, k=3)
    found = retriever.invoke(QUERY)
    assert [(one.id, one.page_content, one.metadata["score"]) for one in found] == [
        (one.passage.id, one.passage.text, one.score) for one in expected
    ]
    assert found[0].metadata["place"] == expected[0].passage.place
    later = asyncio.run(retriever.ainvoke(QUERY, k=2, filter={"first": {"$gte": 3}}))
    assert len(later) == 2
    assert all("Boat 1" not in one.page_content for one in later)
    assert retriever.batch([QUERY, "boat 1"], {"max_concurrency": 2})[0] == found


def test_a_retriever_is_opened_with_its_own_encoder(tmp_path):
    store = MemGPTVectorStore(tmp_path / "m", encoder=str(tiny_bert(tmp_path / "bert")))
    store.add_texts(TEXTS, METADATA, ids=IDS)
    retriever = MemGPTRetriever.open(tmp_path / "m", encoder=str(tmp_path / "bert"), search=Search("bm25"), k=1)
    (found,) = retriever.invoke("boat 41")  # a store has an index of words from its first document on
    assert (found.id, found.metadata["year"], found.metadata["tags"]) == ("boat-41", 2001, [41])


def test_an_answer_of_the_chat_model_is_that_of_the_library_with_its_spans_cited(boats):
    options = AskOptions(k=2, max_new_tokens=12)
    expected = boats.answer(QUERY, options)
    chat = ChatMemGPT(rag=boats, options=options)
    message = chat.invoke(QUERY)
    assert message.text == expected.text
    (block,) = message.content_blocks
    cited = {(one["start_index"], one["end_index"], one["cited_text"]) for one in block["annotations"]}
    assert cited == {
        (start, end, citation.passage.text) for citation in expected.citations for start, end in citation.spans
    }
    assert cited
    for annotation in block["annotations"]:
        assert annotation["type"] == "citation"
        assert expected.text[annotation["start_index"] : annotation["end_index"]]
    memory = message.response_metadata["memory"]
    assert [(one["id"], one["score"]) for one in memory["entries"]] == [
        (one.passage.id, one.score) for one in expected.citations
    ]
    shares = [one["share"] for one in memory["entries"]]
    assert shares == pytest.approx([one.share for one in expected.citations], abs=1e-5)
    assert (memory["mode"], memory["confidence"]) == ("memory", pytest.approx(expected.confidence, abs=1e-6))
    usage = message.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_stream_says_what_the_whole_answer_says(boats):
    chat = ChatMemGPT(rag=boats, options=AskOptions(max_new_tokens=12))
    chunks = list(chat.stream(QUERY))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert len([chunk for chunk in chunks if chunk.text]) > 3
    assert whole.content == chat.invoke(QUERY).content
    assert chunks[-1].response_metadata["finish_reason"] == "length"


def test_sampling_stops_and_limits_are_those_that_are_asked_for(boats):
    chat = ChatMemGPT(rag=boats, options=AskOptions(max_new_tokens=12))
    text = chat.invoke(QUERY).text
    stop = text[3:5]
    before = text[: text.index(stop)].rstrip()
    assert chat.invoke(QUERY, stop=[stop]).text == before
    assert ChatMemGPT(rag=boats, options=chat.options, stop=[stop]).invoke(QUERY).text == before
    assert chat.invoke(QUERY, max_tokens=2).usage_metadata["output_tokens"] == 2
    warm = ChatMemGPT(rag=boats, options=chat.options, temperature=2.0, seed=1)
    assert warm.invoke(QUERY).text == warm.invoke(QUERY).text != text
    assert ChatMemGPT(rag=boats, options=chat.options, timeout=1e-9).invoke(QUERY).usage_metadata["output_tokens"] == 1
    assert len(chat.invoke(QUERY, k=1).response_metadata["memory"]["entries"]) == 1


def test_earlier_turns_are_read_and_searched_with(boats):
    chat = ChatMemGPT(rag=boats, options=AskOptions(k=1, max_new_tokens=2))
    said = [
        SystemMessage("Be short."),
        HumanMessage("What does boat 4 cost?"),
        AIMessage("40 yuan."),
        HumanMessage("And why?"),
    ]
    alone, together = chat.invoke("And why?"), chat.invoke(said)
    assert together.usage_metadata["input_tokens"] > alone.usage_metadata["input_tokens"]
    assert together.response_metadata["memory"]["entries"][0]["place"] == "text, line 4"


def test_a_cache_keeps_the_answers_of_other_memories_searches_and_presets_apart(boats, tmp_path):
    encoder, model = boats.retriever.encoder, boats.model
    memories = {name: Memory.create(tmp_path / name, [f"{name} 7 costs 70 yuan."], encoder) for name in ("a", "b", "c")}

    def key(*names, search=None, model=model):
        rag = RAG(Shards([memories[name] for name in names]), encoder, model, search=search or Search())
        return ChatMemGPT(rag=rag)._get_llm_string(stop=None)

    other = MemoryDecoder(model.decoder, model.tokenizer, config=dataclasses.replace(model.config, score_bias=0.5))
    keys = [
        key("a", "b"),
        key("a", "c"),
        key("b", "a"),
        key("a", "b", search=Search(adjacent=1)),
        key("a", "b", model=other),
    ]
    put_entries(memories["b"].path, [passage(1)], encoder)
    memories["b"] = Memory.open(memories["b"].path)
    keys.append(key("a", "b"))
    assert len({*keys}) == len(keys)
    assert key("a", "b") == keys[-1]


def test_an_emptied_store_is_asked_and_nothing_is_found(boats, tmp_path):
    store = MemGPTVectorStore(tmp_path / "m", Pairs())
    store.add_texts(["A boat."])
    store.delete()
    rag = RAG(Memory.open(tmp_path / "m"), boats.retriever.encoder, boats.model)  # Pairs are its vectors, too
    message = ChatMemGPT(rag=rag, options=AskOptions(max_new_tokens=2)).invoke(QUERY)
    assert message.response_metadata["memory"]["nothing_found"]
    assert "annotations" not in message.content_blocks[0]


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([HumanMessage("Hi."), AIMessage("Hello.")], "The last message is not a person's"),
        ([HumanMessage(" ")], "The last message is empty"),
        ([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])], "A message holds image_url; this model reads texts"),
        ([ToolMessage("3", tool_call_id="1"), HumanMessage("Hi.")], "A message holds tool"),
        ([AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}]), HumanMessage("Hi.")], "A message holds a call of a tool"),
    ],
)  # fmt: skip
def test_what_the_chat_model_cannot_read_is_refused(boats, messages, match):
    with pytest.raises(ValueError, match=match):
        ChatMemGPT(rag=boats).invoke(messages)


def test_a_condition_in_text_stays_and_an_empty_filter_is_none():
    assert condition("year > 3", {}) == "year > 3"
    assert condition({}, {}) is condition(None, {}) is None
    assert condition({"a": 1, "b": {"$lt": 2}}, {}) == "(a == 1 and b < 2)"


def test_a_filter_by_a_name_that_every_memory_has_goes_by_the_metadata(tmp_path):
    known = [
        {"title": "Kites", "id": 7, "source": "a.txt", "title_": "Boats"},
        {"title": "Boats", "id": 8, "source": "b.txt", "title_": "Kites"},
    ]
    store = MemGPTVectorStore(tmp_path / "m", Pairs())
    store.add_texts(["One.", "Two."], known, ids=["x", "y"])
    for given in (
        {"title": "Boats"},
        {"id": 8},
        {"source": "b.txt"},
        {"title_": "Kites"},
        {"$or": [{"title": {"$in": ["Boats"]}}]},
        'source == "b.txt"',
        'title_ == "Boats"',
    ):
        assert [one.metadata for one in store.similarity_search("x", filter=given)] == [known[1]]
    with pytest.raises(
        ValueError,
        match="There is no column for 'unit' in the metadata; the memory was created with title_, id_, source_",
    ):
        store.similarity_search("x", filter={"unit": "page"})
    named = MemGPTVectorStore(tmp_path / "n", Pairs(), columns={"title": "string"})
    named.add_texts(["One.", "Two."], known)
    assert len(named.similarity_search("x", filter={"title": "Kites"})) == 1


@pytest.mark.slow
@pytest.mark.offline_models
def test_what_a_store_wrote_is_asked_with_the_bundled_models(tmp_path):
    store = MemGPTVectorStore(tmp_path / "prices")
    store.add_texts(
        ["A rowing boat costs 40 yuan an hour.", "A kite costs 15 yuan a day.", "The tea house opens at nine."],
        [{"source": f"{name}.txt"} for name in ("boats", "kites", "tea")],
        ids=["boat", "kite", "tea"],
    )
    chat = ChatMemGPT.open(tmp_path / "prices")
    message = chat.invoke("How much does it cost to rent a rowing boat?")
    assert "40 yuan" in message.text
    first = message.content_blocks[0]["annotations"][0]
    assert (first["cited_text"], first["extras"]["id"]) == ("A rowing boat costs 40 yuan an hour.", "boat")
    assert "40" in message.text[first["start_index"] : first["end_index"]]
    assert first["extras"]["place"] == "boats.txt, boat, document 1"
    retriever = MemGPTRetriever.open(tmp_path / "prices", k=1)
    assert retriever.invoke("When can I drink tea?")[0].id == "tea"
