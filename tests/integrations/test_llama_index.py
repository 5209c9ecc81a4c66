"""Memories behind LlamaIndex's interfaces. It publishes no suite for stores, so its own store in RAM is the oracle."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hashing import HashEncoder, passage

pytest.importorskip("llama_index.core", reason="llama-index-core is not installed")

from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.schema import NodeRelationship, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from memgpt_rag import AskOptions, Memory, Search
from memgpt_rag.errors import MismatchError, ModelError
from memgpt_rag.integrations.llama_index import (
    MemGPTEmbedding,
    MemGPTQueryEngine,
    MemGPTRetriever,
    MemGPTVectorStore,
)
from memgpt_rag.memory.versions import list_versions
from memgpt_rag.retrieval.retriever import Retriever

ENCODER = HashEncoder()
MODEL = MemGPTEmbedding(ENCODER)


class Pairs(BaseEmbedding):
    """An embedding model of somebody else, whose vectors have no length in particular."""

    salt: int = 0

    def _get_query_embedding(self, query):
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)

    def _get_text_embedding(self, text):
        return (3 * HashEncoder(salt=self.salt).encode_passages([text])[0]).tolist()


def node(number):
    known = {"year": 2000 + number % 5, "lang": "en" if number % 2 else "zh"} if number % 7 else {"lang": "fr"}
    made = TextNode(id_=f"boat-{number}", text=f"Boat {number} costs {number * 10} yuan.", metadata=known)
    made.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"file-{number % 3}")
    made.embedding = MODEL.get_text_embedding(made.get_content("embed"))
    return made


NODES = [node(number) for number in range(40)]
VECTOR = MODEL.get_query_embedding("What does boat 7 cost?")


@pytest.fixture
def store(tmp_path):
    made = MemGPTVectorStore(tmp_path / "boats", MODEL)
    assert made.add(NODES) == [one.node_id for one in NODES]
    return made


@pytest.fixture
def other():
    made = SimpleVectorStore()
    made.add(NODES)
    return made


def one(key, value, operator=FilterOperator.EQ):
    return MetadataFilter(key=key, value=value, operator=operator)


@pytest.mark.parametrize(
    "filters",
    [
        None,
        MetadataFilters(filters=[one("year", 2003)]),
        MetadataFilters(filters=[one("year", 2001, FilterOperator.GT), one("year", 2003, FilterOperator.LTE)]),
        MetadataFilters(filters=[one("year", 2001, FilterOperator.LT), one("year", 2004, FilterOperator.GTE)], condition="or"),
        MetadataFilters(filters=[one("lang", "en", FilterOperator.NE), one("year", [2000, 2004], FilterOperator.IN)]),
        MetadataFilters(filters=[one("year", [2000, 2004], FilterOperator.NIN)]),
        MetadataFilters(filters=[one("year", 2003, FilterOperator.NE)]),
        MetadataFilters(filters=[one("year", None, FilterOperator.IS_EMPTY)]),
        MetadataFilters(filters=[one("year", 2003), one("lang", "en")], condition=FilterCondition.NOT),
        MetadataFilters(filters=[one("year", 2001, FilterOperator.GT)], condition=FilterCondition.NOT),
    ],
)  # fmt: skip
def test_nodes_and_scores_are_those_of_llama_index_own_store(store, other, filters):
    query = VectorStoreQuery(query_embedding=VECTOR, similarity_top_k=40, filters=filters)
    ours, theirs = store.query(query), other.query(query)
    expected = dict(zip(theirs.ids, theirs.similarities))
    assert len(ours.ids) == len(set(ours.ids)) > 0
    assert dict(zip(ours.ids, ours.similarities)) == pytest.approx(expected, abs=1e-5)
    assert ours.similarities == sorted(ours.similarities, reverse=True)
    known = {one.node_id: one for one in NODES}
    for found in ours.nodes:
        given = known[found.node_id]
        assert (found.text, found.metadata, found.ref_doc_id) == (given.text, given.metadata, given.ref_doc_id)
        assert found.hash == given.hash


def test_a_node_is_cited_by_its_document(store, tmp_path):
    places = {one.id: one.place for one in Memory.open(tmp_path / "boats").passages(range(len(NODES)))}
    assert places["boat-4"] == "file-1, boat-4, document 1"


def test_nested_filters_hold_together(store):
    inner = MetadataFilters(filters=[one("year", 2000), one("lang", "fr")], condition="or")
    filters = MetadataFilters(filters=[inner, one("lang", "en", FilterOperator.NE)])
    found = {one.node_id for one in store.get_nodes(filters=filters)}
    expected = [one for one in NODES if one.metadata.get("year") == 2000 or one.metadata["lang"] == "fr"]
    assert found == {one.node_id for one in expected if one.metadata["lang"] != "en"}


def test_diverse_nodes_are_those_of_llama_index_own_store(store, other):
    query = VectorStoreQuery(query_embedding=VECTOR, similarity_top_k=6, mode=VectorStoreQueryMode.MMR)
    for threshold in (0.2, 0.5, 1.0):
        settings = {"mmr_threshold": threshold}
        assert store.query(query, mmr_prefetch_factor=40, **settings).ids == other.query(query, **settings).ids
    assert len(store.query(query).ids) == 6


def test_queries_are_narrowed_to_nodes_and_documents(store):
    ids = ["boat-3", "boat-9", "none"]
    found = store.query(VectorStoreQuery(query_embedding=VECTOR, similarity_top_k=9, node_ids=ids))
    assert set(found.ids) == {"boat-3", "boat-9"}
    found = store.query(VectorStoreQuery(query_embedding=VECTOR, similarity_top_k=99, doc_ids=["file-1"]))
    assert set(found.ids) == {f"boat-{number}" for number in range(1, 40, 3)}


def test_documents_nodes_and_all_are_deleted(store, tmp_path):
    store.delete("file-0")
    assert {one.ref_doc_id for one in store.get_nodes()} == {"file-1", "file-2"}
    store.delete_nodes(["boat-1", "boat-2"], MetadataFilters(filters=[one("lang", "en")]))
    assert {one.node_id for one in store.get_nodes(["boat-1", "boat-2"])} == {"boat-2"}
    before = len(store.get_nodes())
    store.delete_nodes()
    store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilters(filters=[])]))
    store.delete_nodes([])
    assert len(store.get_nodes()) == before
    store.clear()
    assert store.get_nodes() == store.query(VectorStoreQuery(query_embedding=VECTOR)).nodes == []
    store.add(NODES[:1])
    assert len(Memory.open(tmp_path / "boats")) == 1


def test_an_addition_is_one_version_and_replaces_by_id(store, tmp_path):
    changed = TextNode(id_="boat-3", text="Sold.", embedding=MODEL.get_text_embedding("Sold."))
    store.add([changed, NODES[4]])
    assert list_versions(tmp_path / "boats")[-1].job == {"name": "put", "added": 1, "replaced": 1}
    assert [one.text for one in store.get_nodes(["boat-3"])] == ["Sold."]
    memory = Memory.open(tmp_path / "boats")
    found = memory.passages(memory.rows())
    nodes = {one.node_id: one for one in store.get_nodes()}
    keys = ENCODER.encode_passages([nodes[one.id].get_content("embed") for one in found])
    np.testing.assert_allclose(memory.keys(), keys, atol=1e-6)
    assert {one.titled_text for one in found if one.id == "boat-4"} == {
        NODES[4].get_content("embed").replace("\n\n", "\n")
    }


def test_an_index_is_built_and_asked(tmp_path):
    store = MemGPTVectorStore(tmp_path / "boats", MODEL)
    context = StorageContext.from_defaults(vector_store=store)
    nodes = [TextNode(id_=one.node_id, text=one.text, metadata=one.metadata) for one in NODES]
    index, query = VectorStoreIndex(nodes, storage_context=context, embed_model=MODEL), nodes[12].get_content("embed")
    found = index.as_retriever(similarity_top_k=2).retrieve(query)
    assert found[0].node.node_id == "boat-12"
    again = VectorStoreIndex.from_vector_store(MemGPTVectorStore(tmp_path / "boats", MODEL), embed_model=MODEL)
    assert [one.node for one in again.as_retriever(similarity_top_k=2).retrieve(query)] == [one.node for one in found]
    beside = QueryBundle(query, custom_embedding_strs=[query, "A made-up answer about boats."])
    assert again.as_retriever(similarity_top_k=1).retrieve(beside)
    same = asyncio.run(VectorIndexRetriever(again, similarity_top_k=2).aretrieve(query))
    assert [one.score for one in same] == [one.score for one in found]


def test_an_embedding_model_of_somebody_else_is_an_encoder(tmp_path):
    model = Pairs(model_name="pairs")
    context = StorageContext.from_defaults(vector_store=MemGPTVectorStore(tmp_path / "m", model))
    index = VectorStoreIndex([TextNode(text=one.text) for one in NODES], storage_context=context, embed_model=model)
    assert index.as_retriever(similarity_top_k=1).retrieve(NODES[9].text)[0].score == pytest.approx(1, abs=1e-5)
    assert Memory.open(tmp_path / "m").manifest.encoder.name == "Pairs pairs"
    with pytest.raises(MismatchError, match="was embedded with 'Pairs pairs' and is asked with 'Pairs other'"):
        MemGPTVectorStore(tmp_path / "m", Pairs(model_name="other", salt=1))
    with pytest.raises(ModelError, match="its encoder is 'Pairs pairs', which does not come as a package"):
        MemGPTVectorStore(tmp_path / "m")


def test_vectors_of_another_model_are_refused(store, tmp_path):
    wrong = TextNode(id_="wrong", text="Kite.", embedding=Pairs(salt=1).get_text_embedding("Kite."))
    with pytest.raises(MismatchError, match="The vector of 'wrong' is not what 'hash' computes for its text"):
        store.add([wrong])
    short = TextNode(id_="short", text="Kite.", embedding=[1.0, 2.0])
    with pytest.raises(MismatchError, match="The vector of 'short' is not what"):
        store.add([short])
    index = VectorStoreIndex.from_vector_store(store, embed_model=Pairs(salt=1))
    with pytest.raises(MismatchError, match="give the index and the store the same embed_model"):
        index.as_retriever().retrieve("Boat 3?")
    same = TextNode(id_="same", text="Kite.", embedding=[0.5] * 8)
    with pytest.raises(ModelError, match="'MockEmbedding unknown' cannot search"):
        MemGPTVectorStore(tmp_path / "mock", MockEmbedding(embed_dim=8)).add([same])
    assert len(store.get_nodes()) == 40


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (TextNode(id_="a", text="Kite."), "The node 'a' has no vector; add nodes through an index"),
        (TextNode(id_="a", text=" ", embedding=ENCODER.encode_passages([" "])[0].tolist()), "The document 'a' has no text"),
        (TextNode(id_="a", text="Kite.", metadata={"x": 1}, text_template="{content} {metadata_str}", embedding=VECTOR),
         "The text template of the node 'a' does not end with its text"),
        (TextNode(id_="a", text="Kite.", metadata={"year": "X"}, embedding=MODEL.get_text_embedding("year: X\n\nKite.")),
         "The document 'a' has year='X', and the memory's column 'year' holds values of type integer"),
    ],
)  # fmt: skip
def test_nodes_that_cannot_be_entries_are_refused(store, given, match):
    with pytest.raises(ValueError, match=match):
        store.add([given])
    assert len(store.get_nodes()) == 40


@pytest.mark.parametrize(
    ("query", "match"),
    [
        (VectorStoreQuery(query_str="x"), "The query has no vector"),
        (VectorStoreQuery(query_embedding=VECTOR, mode=VectorStoreQueryMode.HYBRID), "This store has no mode hybrid"),
        (VectorStoreQuery(query_embedding=VECTOR, filters=MetadataFilters(filters=[one("lang", "e", FilterOperator.CONTAINS)])),
         r"A memory has no filter CONTAINS \(of 'lang'\); expected one of EQ"),
        (VectorStoreQuery(query_embedding=VECTOR, filters=MetadataFilters(filters=[one("colour", 1)])), "There is no column 'colour'"),
        (VectorStoreQuery(query_embedding=VECTOR, filters=MetadataFilters(filters=[one("a b", None, FilterOperator.IS_EMPTY)])),
         "cannot be the name of a column"),
    ],
)  # fmt: skip
def test_queries_that_cannot_be_meant_are_refused(store, query, match):
    with pytest.raises(ValueError, match=match):
        store.query(query)


def test_a_memory_that_a_job_built_is_a_store_without_documents(tmp_path):
    Memory.create(tmp_path / "m", [passage(1), passage(2)], ENCODER)
    store = MemGPTVectorStore(tmp_path / "m", MODEL)
    (found,) = store.get_nodes(["doc#2"])
    assert (found.text, found.metadata["place"]) == ("Fact number 2.", "doc, line 2")
    with pytest.raises(ValueError, match="do not say of which document of LlamaIndex they are"):
        store.delete("doc")


def test_the_retriever_finds_what_the_library_finds(boats, store, tmp_path):
    expected = boats.retriever.retrieve(["boat 3"], 3)[0]
    found = MemGPTRetriever(boats.retriever, k=3).retrieve("boat 3")
    assert [(each.node.node_id, each.node.text, each.score) for each in found] == [
        (each.passage.id, each.passage.text, each.score) for each in expected
    ]
    filters = MetadataFilters(filters=[one("lang", "zh")])
    words = MemGPTRetriever(Retriever(Memory.open(tmp_path / "boats"), ENCODER, Search("bm25")), k=2, filters=filters)
    (first, *_) = asyncio.run(words.aretrieve(QueryBundle("boat 12")))
    assert (first.node.node_id, first.node.metadata) == ("boat-12", NODES[12].metadata)


def test_sources_of_an_answer_carry_share_and_score(boats):
    options = AskOptions(k=3, max_new_tokens=8)
    expected = boats.answer("What does boat 3 cost?", options)
    engine = MemGPTQueryEngine(rag=boats, options=options)
    for response in (engine.query("What does boat 3 cost?"), asyncio.run(engine.aquery("What does boat 3 cost?"))):
        assert str(response) == expected.text
        assert [
            (one.node.node_id, one.score, one.node.metadata["share"], one.node.metadata["spans"])
            for one in response.source_nodes
        ] == [(one.passage.id, one.score, one.share, [list(span) for span in one.spans]) for one in expected.citations]
        assert sum(one.node.metadata["share"] for one in response.source_nodes) == pytest.approx(1)
        assert response.metadata["mode"] == "memory"
        assert "share" not in response.source_nodes[0].node.get_content("llm")
    with pytest.raises(ValueError, match="A question is empty"):
        engine.query(" ")
